"""Tables of a domain gap, made up in milliseconds: clips that differ by a known shift."""

from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.files import write_csv, write_json
from envsound.metrics.measures import MEASURES
from envsound.studies.transfer.domain_gap import Kinds, acoustic_gap, code_gap

KINDS = Kinds("synthetic speech", "recorded environmental sound")


def clip_table(n: int, shift: float, seed: int) -> pd.DataFrame:
    """Return measures of n clips: normal about 0.5, all of them shifted."""
    values = 0.5 + shift + 0.1 * np.random.default_rng(seed).standard_normal((n, len(MEASURES)))
    return pd.DataFrame(values, columns=list(MEASURES))


def gap_table() -> pd.DataFrame:
    """Return gap.csv: speech is higher in everything but the onset rate, where there is no gap."""
    speech, environment = clip_table(30, 0.2, 0), clip_table(40, 0.0, 1)
    speech["onset_rate_hz"] = np.arange(30) % 2
    environment["onset_rate_hz"] = np.arange(40) % 2
    speech.loc[0, "modulation_2_8_hz"] = np.nan
    return acoustic_gap(speech, environment, KINDS, n_resamples=20)


def codes_table(n_levels: int = 3) -> pd.DataFrame:
    """Return gap_codes.csv: speech uses 4 codes of 16, environmental sound all of them."""
    rng = np.random.default_rng(0)
    speech, environment = (list(rng.integers(0, size, (8, n_levels, 100))) for size in (4, 16))
    return code_gap(speech, environment, KINDS, codebook_size=16, n_resamples=20)


def make_report(folder: Path) -> Path:
    """Write a finished report of notebook 11 into `folder` and return it."""
    write_csv(folder / "gap.csv", gap_table())
    write_csv(folder / "gap_codes.csv", codes_table())
    write_csv(folder / "clips.csv", pd.DataFrame({"filename": ["/home/me/speech/a.wav"]}))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in ("effects", "shares"):
        (folder / "figures" / f"{name}.png").write_bytes(b"png")
    step = {
        "parameters": {"dataset": "esc50", "data_dir": "/home/me/ESC-50", "speech_dir": "/home/me/speech", "seed": 0},
        "facts": {"data_cut": "ESC-50 folder test", "max_hz": 11025.0, "codec": "bundled",
                  "speech_cut": "synthetic speech, rule-based (espeak-ng 1.51, seed 0)",
                  "n_silent_speech": 0, "n_silent_environment": 2},
        "seconds": 9.0, "started": "2026-01-02T03:04:05+00:00", "commit": "abc123", "device": "CPU test",
    }  # fmt: skip
    write_json(folder / "provenance.json", {"run": str(folder), "steps": {"11_measure_domain_gap": step}})
    return folder
