"""The numbers the book's prose uses, read from result files, never typed."""

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, visible
from envsound.base.text import number
from envsound.metrics.published import SOURCES, read_published
from envsound.metrics.tests import ALPHA, ratio_interval
from envsound.run.presets import read_settings_file

NOT_MEASURED = "not measured"
ALL = "all"  # in place of a key that a table leaves empty
KEYED = {  # facts of a published run: the table they are in, and the columns that name a row, outermost first
    "table": ("table_metrics", ("metric",)),
    "ks": ("ks", ("comparison", "metric")),
    "diversity": ("diversity", ("category", "system")),
    "distances": ("distances", ("embedding", "side")),
    "truth": ("class_truth", ("classifier", "side", "category")),
    "taught": ("class_training", ("classifier", "mix")),
    "copies": ("memorisation", ("space", "side")),
    "copied": ("copies", ("side",)),
    "seeds": ("listener_seeds", ("quantity", "judge")),
}


class Facts(dict):
    """A tree of facts for the templates: a name nobody measured reads "not measured", at any depth."""

    def __missing__(self, key: str) -> "Facts":
        return Facts()

    def __str__(self) -> str:
        return NOT_MEASURED if not self else dict.__repr__(self)


def facts(value: Any) -> Any:
    """Return `value` (from JSON or YAML) as Facts, with every number written out; lists become "a, b, c"."""
    if isinstance(value, dict):
        return Facts({str(key): facts(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return ", ".join(str(facts(item)) for item in value)
    if isinstance(value, bool | int | float):
        return number(value)
    return NOT_MEASURED if value is None else str(value)


def keyed(table: pd.DataFrame, keys: tuple[str, ...]) -> Facts:
    """Return the rows of a table by the values of `keys`, nested; a key's first row counts, an empty key is ALL."""
    found = Facts()
    for row in table.to_dict("records"):
        place = found
        for key in keys[:-1]:
            place = place.setdefault(_key(row.pop(key)), Facts())
        place.setdefault(_key(row.pop(keys[-1])), facts(row))
    return found


def published_facts(path: str | Path) -> Facts:
    """Return the published study's figures as item -> side -> {value, sd, unit, source, note}.

    Where a figure has two sources, the more exact wins (result files before printed tables).
    """
    table = read_published(path).copy()
    rank = {source: place for place, source in enumerate(SOURCES)}
    table["rank"] = [next((rank[s] for s in SOURCES if source.startswith(s)), 9) for source in table["source"]]
    table = table.sort_values("rank", kind="stable").fillna({"value": "", "sd": ""})
    return keyed(table.drop(columns="rank"), ("item", "side"))


def result_facts(folder: str | Path) -> Facts:
    """Return a published run's facts: its tables as KEYED says, `run` as `run_origin` gives it, and `apart`.

    `apart` is `told_apart` by training run, "esc10 seed 0", or by system. Missing files are left out.
    """
    folder, found = Path(folder), Facts()
    for name, (file, keys) in KEYED.items():
        if (folder / f"{file}.csv").is_file():
            found[name] = keyed(read_csv(folder / f"{file}.csv"), keys)
    if (folder / "evaluation.csv").is_file():
        counts = told_apart(read_csv(folder / "evaluation.csv"))
        found["apart"] = keyed(counts.assign(who=counts["run"].where(counts["run"] != "", counts["system"])), ("who",))
    if (folder / "provenance.json").is_file():
        found["run"] = facts(run_origin(folder))
    return found


def told_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many metrics tell each system of an evaluation.csv from real clips, at 5% after Holm's correction.

    Columns: system, run ("" for none), n and n_real (clips), n_tests (metrics that can be tested at all), n_apart.
    """
    tested = table[table["ks"].notna() & (table["note"] == "")].assign(apart=lambda rows: rows["p_holm"] < ALPHA)
    counts = tested.groupby(["system", "run"], sort=False).agg(
        n=("n", "max"), n_real=("n_real", "max"), n_tests=("metric", "size"), n_apart=("apart", "sum")
    )
    return counts.astype(int).reset_index()


def step_record(folder: str | Path, step: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return parameters and facts of a step, and Commit and Machine as pages call them. Raises as `run_origin` does."""
    run, record = run_origin(folder), read_json(Path(folder) / "provenance.json")["steps"][step]
    made = {"Commit": run.get("commit"), "Machine": run.get("device")}
    return record.get("parameters", {}), record.get("facts", {}), made


def run_origin(folder: str | Path) -> dict[str, Any]:
    """Return where a run came from, out of its provenance.json.

    Keys: preset, fold, seed, dataset, data_dir, esc10_only, data_cut, n_parameters, codec_hash, commit,
    device, started, seconds (sum of all steps). What a record lacks is left out.

    Raises InputError when the file is missing or is not a provenance record.
    """
    record = read_json(Path(folder) / "provenance.json")
    steps = record.get("steps") if isinstance(record, dict) else None
    if not isinstance(steps, dict) or not all(isinstance(step, dict) for step in steps.values()):
        raise InputError(f"{Path(folder) / 'provenance.json'}: no steps in it, expected a provenance record")
    origin: dict[str, Any] = {}
    for step in steps.values():
        parameters, noted = step.get("parameters", {}), step.get("facts", {})
        for key in ("preset", "fold", "seed", "dataset", "data_dir", "esc10_only"):
            if parameters.get(key) not in (None, ""):
                origin.setdefault(key, parameters[key])
        for key in ("data_cut", "n_parameters", "codec_hash"):
            if key in noted:
                origin.setdefault(key, noted[key])
    origin["commit"] = _all_of(steps, "commit")
    used = {step["facts"]["device_used"] for step in steps.values() if "device_used" in step.get("facts", {})}
    origin["device"] = ", ".join(sorted(map(str, used))) or _all_of(steps, "device")
    origin["started"] = min((str(step["started"]) for step in steps.values() if step.get("started")), default="")
    origin["seconds"] = round(sum(float(step.get("seconds", 0)) for step in steps.values()), 1)
    return {key: value for key, value in origin.items() if value != ""}


def house_table(path: str | Path) -> str:
    """Return where things are, as a Markdown table of the packages in a house.toml, each with its purpose."""
    packages = tomllib.loads(Path(path).read_text(encoding="utf-8"))["packages"]
    rows = [f"| `src/envsound/{name}/` | {entry['purpose']} |" for name, entry in packages.items()]
    return "\n".join(["| folder | what |", "|:--|:--|", *rows])


def judged_facts(folder: Path) -> Facts:
    """Return what judges heard: judge -> system -> heard, a percentage, and of_real, one with its interval."""
    found = Facts()
    for path in visible(folder, "*/judged.csv"):
        table = judged_table(path.parent)
        of_real = [f"{100 * row.share:.0f}% ({100 * row.share_low:.0f} to {100 * row.share_high:.0f}%)"
                   for row in table.itertuples()]  # fmt: skip
        told = table.assign(heard=[f"{value:.0%}" for value in table["accuracy"]], of_real=of_real)
        found |= keyed(told, ("judge", "system"))
    return found


def judged_table(folder: Path) -> pd.DataFrame:
    """Return a report's judged.csv, with what judged_by_class.csv alone has, such as the codec, summed over classes."""
    judged, file = read_csv(folder / "judged.csv"), folder / "judged_by_class.csv"
    if not file.is_file():
        return judged
    known = {(row.judge, row.system) for row in judged.itertuples()}
    rows = []
    for (judge, system), part in read_csv(file).groupby(["judge", "system"], sort=False):
        real = judged[(judged["judge"] == judge) & (judged["system"] == "real")].to_dict("records")
        if (judge, system) in known or not real:
            continue
        n, right, theirs = int(part["n"].sum()), int(part["n_right"].sum()), real[0]["accuracy"]
        low, high = ratio_interval(right, n, real[0]["n_right"], real[0]["n"])
        row = {"judge": judge, "system": system, "n": n, "n_right": right, "accuracy": right / n}
        rows.append(row | {"share": right / n / theirs, "share_low": low, "share_high": high})
    return pd.concat([judged, pd.DataFrame(rows)], ignore_index=True) if rows else judged


def notebook_links(book_dir: str | Path) -> Facts:
    """Return links to the staged notebooks by step: `n01` -> "[demo-fold1_seed0](executed/runs/...)".

    A step that has not been run reads "not run yet".
    """
    links = Facts()
    for step in range(1, 7):
        paths = visible(book_dir, f"executed/runs/*/{step:02d}_*.ipynb")
        found = [f"[{path.parent.name}]({path.relative_to(book_dir).as_posix()})" for path in paths]
        links[f"n{step:02d}"] = ", ".join(found) or "not run yet"
    return links


def book_facts(root: str | Path) -> dict[str, Any]:
    """Return the substitutions of the book that belong to no study.

    codec (its card), published (the published study), paper, demo, esc10 (presets), judged (see `judged_facts`),
    results (preset -> result_facts), steps (links to executed notebooks), house (the table of packages). `root` is the
    repository root. A file that is not there leaves its facts "not measured".
    """
    root = Path(root)
    card, study = root / "data" / "codec" / "patches.json", root / "data" / "published" / "published_study.csv"
    found = {"codec": facts(read_json(card)) if card.is_file() else Facts()}
    found["published"] = published_facts(study) if study.is_file() else Facts()
    for preset in ("paper", "demo", "esc10"):
        path = root / "notebooks" / "presets" / f"{preset}.yml"
        found[preset] = facts(read_settings_file(path)) if path.is_file() else Facts()
    folders = [path.parent for path in visible(study.parent, "*/table_metrics.csv")]
    found["judged"] = judged_facts(study.parent / "judges")
    found["results"] = Facts({folder.name: result_facts(folder) for folder in folders})
    found["steps"] = notebook_links(root / "book")
    house = root / "house.toml"
    found["house"] = house_table(house) if house.is_file() else f"*{NOT_MEASURED}*"
    return found


def _key(value: Any) -> str:
    return ALL if pd.isna(value) or value == "" else str(value)


def _all_of(steps: dict[str, dict], key: str) -> str:
    """Return the different values the steps have for `key`, in one line."""
    return ", ".join(sorted({str(step[key]) for step in steps.values() if step.get(key)}))
