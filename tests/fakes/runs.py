"""A finished run, made up in a few milliseconds: the files a run leaves, with very short sounds."""

import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from envsound.base.files import write_csv, write_json, write_wav
from envsound.report.assets import Assets
from envsound.report.fragments import Staging
from envsound.report.runs import Run

METRIC_NAMES = ("snr_db", "zcr", "rms", "spectral_entropy", "spectral_centroid_hz", "spectral_rolloff_hz")
STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips", "04_metrics", "05_ks_tests", "06_figures")
COMPARISONS = ("generated_vs_real", "codec_vs_real", "real_other_vs_real")
MEANS = {
    "n_real": 40, "real_mean": 1.5, "real_sd": 0.5, "n_generated": 41, "generated_mean": 1.25, "generated_sd": 0.25,
    "n_codec": 40, "codec_mean": 1.4, "codec_sd": 0.4, "difference_percent": -16.7, "published_real": 3.5,
    "published_generated": 2.5,
}  # fmt: skip
DISTANCES = {"statistic": 0.31, "p_holm": 0.04, "threshold_5_percent": 0.3, "published_statistic": 0.63}


def staging(root: Path, *runs: Path) -> Staging:
    """Return what a page of the book is staged from and into: data/published and book below `root`, and some runs."""
    assets = Assets(root / "book", [root / "data", *runs])
    return Staging(root / "data" / "published", root / "book", assets, [Run(run) for run in runs])


def players(page: Path) -> list[Path]:
    """Return the sounds that a page of the book, Markdown or notebook, plays: the files that its players link to."""
    text = page.read_text(encoding="utf-8").replace('\\"', '"')
    return [Path(os.path.normpath(page.parent / link)) for link in re.findall(r'<audio[^>]* src="([^"]+)"', text)]


def tone(path: Path, frequency: float, seconds: float = 0.1) -> Path:
    """Write a short sine as wav and return its path."""
    time = np.arange(int(24_000 * seconds)) / 24_000
    write_wav(path, 0.5 * np.sin(2 * np.pi * frequency * time), 24_000)
    return path


def make_run(
    root: Path, preset: str = "demo", categories: tuple[str, ...] = ("dog", "rain"), seconds: float = 0.1
) -> Path:
    """Write a run below `root` / data / runs and its real clips below `root` / data / raw; return the run's folder.

    With no categories the run is unconditional.
    """
    run, raw = root / "data" / "runs" / preset / "fold1_seed0", root / "data" / "raw" / "sounds"
    names = categories or ("", "")
    made, real = ([f"{stem}{n}.wav" for n in range(len(names))] for stem in ("00", "real-"))
    for number in range(len(names)):
        tone(run / "samples" / made[number], 300 + 100 * number, seconds)
        tone(raw / real[number], 500 + 100 * number, seconds)
    classes = [name or "dog" for name in names]
    recordings = {"clip_id": range(len(names)), "filename": real, "path": [str(raw / name) for name in real]}
    tables = {
        "samples": {"filename": made, "category": names, "seed": 7, "n_frames": 8, "seconds": seconds},
        "codes": recordings | {"fold": 1, "category": classes},
        "metrics": {"side": "real", "clip": real, "category": classes},
        "pairs": {"real": real, "generated": made},
    }
    for name, columns in tables.items():
        write_csv(run / f"{name}.csv", pd.DataFrame(columns))
    write_results(run, preset)
    for number, step in enumerate(STEPS):
        write_notebook(run / "notebooks" / f"{step}.ipynb", number, run.relative_to(root))
    return run


def write_results(folder: Path, preset: str, dataset: str = "folder") -> None:
    """Write table_metrics.csv, ks.csv and provenance.json into `folder`."""
    write_csv(folder / "table_metrics.csv", pd.DataFrame([{"metric": name} | MEANS for name in METRIC_NAMES]))
    rows = [{"comparison": one, "metric": name} | DISTANCES for one in COMPARISONS for name in METRIC_NAMES]
    write_csv(folder / "ks.csv", pd.DataFrame(rows))
    given = {"preset": preset, "fold": 1, "seed": 5, "dataset": dataset}
    made = provenance("04_metrics", given, {"data_cut": "ten classes of made-up sound"})
    write_json(folder / "provenance.json", made)


def provenance(step: str, parameters: dict, facts: dict) -> dict:
    """Return the record of one step of a run."""
    record = {"step": step, "parameters": parameters, "facts": facts, "seconds": 90.0, "commit": "abc123"}
    record |= {"started": "2026-01-02T03:04:05+00:00", "device": "CPU test, 1 threads"}
    return {"run": "demo", "steps": {step: record}}


def write_notebook(path: Path, number: int, run: Path) -> None:
    """Write an executed notebook with a player, a formula, dead links and a link to its neighbour."""
    new = nbformat.v4
    player = f'<figure class="player"><audio controls src="{run}/samples/000.wav"></audio></figure>'
    gone = '<audio controls src="../../../../etc/passwd.wav"></audio>'
    title = f"# Step {number + 1}\n\nSee [the next](02_train_model.ipynb) and [README](../README.md)."
    imports = "import envsound\nfrom envsound.base.paths import go_to_root\n\ngo_to_root()"
    shown = ({"text/html": player + gone, "text/plain": "audio"}, {"text/markdown": "Found $x^2$."})
    outputs = [new.new_output("display_data", data=data) for data in shown]
    cells = [new.new_markdown_cell(title), new.new_code_cell(imports, execution_count=1)]
    cells.append(new.new_code_cell("show()", execution_count=2, outputs=outputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new.new_notebook(cells=cells, metadata=metadata), path)
