"""Proves the tests: makes each mistake of mutations.yml in a copy of the code, and expects its test to fail on it."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import yaml
from tqdm.auto import tqdm

from envsound.base.files import write_csv

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
COLUMNS = ["rule", "file", "before", "after", "test", "passes_unchanged", "fails_mutated"]


def read_mutations(path: Path = TESTS / "mutations.yml") -> list[dict[str, str]]:
    """Return the mutations, each with rule, file (below src/envsound), before, after and test."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def mutate(source: Path, mutation: dict[str, str]) -> None:
    """Make the mistake in the package below `source`. Raises ValueError unless the text occurs exactly once."""
    path = source / "envsound" / mutation["file"]
    text = path.read_text(encoding="utf-8")
    if text.count(mutation["before"]) != 1:
        raise ValueError(f"{path}: holds {mutation['before']!r} {text.count(mutation['before'])} times; expected once")
    path.write_text(text.replace(mutation["before"], mutation["after"]), encoding="utf-8")


def passes(test: str, source: Path) -> bool:
    """Run a test on the package below `source`. Raises RuntimeError when it did not run at all."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", f"tests/{test}"]
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "HYPOTHESIS_STORAGE_DIRECTORY": ""}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if result.returncode not in (0, 1):
        raise RuntimeError(f"{test}: pytest ended with {result.returncode}\n{result.stdout[-2000:]}{result.stderr}")
    return result.returncode == 0


def try_mutation(mutation: dict[str, str]) -> bool:
    """Return whether the test fails on the mutated code."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        mutate(source, mutation)
        return not passes(mutation["test"], source)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="data/published/mutants.csv", help="where the table goes")
    parser.add_argument("--jobs", type=int, default=2, help="tests at once")
    arguments = parser.parse_args()
    mutations = read_mutations()
    tests = sorted({mutation["test"] for mutation in mutations})
    with ThreadPoolExecutor(arguments.jobs) as pool:
        sound = dict(zip(tests, tqdm(pool.map(lambda test: passes(test, ROOT / "src"), tests), total=len(tests),
                                     desc="as it is", unit="test"), strict=True))  # fmt: skip
        caught = list(tqdm(pool.map(try_mutation, mutations), total=len(mutations), desc="mutated", unit="mutant"))
    rows = [
        mutation | {"passes_unchanged": sound[mutation["test"]], "fails_mutated": failed}
        for mutation, failed in zip(mutations, caught, strict=True)
    ]
    write_csv(ROOT / arguments.out, pd.DataFrame(rows, columns=COLUMNS))
    wrong = [row for row in rows if not (row["passes_unchanged"] and row["fails_mutated"])]
    for row in wrong:
        print(f"NOT CAUGHT: {row['rule']} ({row['test']})", file=sys.stderr)
    print(f"{len(rows) - len(wrong)} of {len(rows)} mistakes caught by their test")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
