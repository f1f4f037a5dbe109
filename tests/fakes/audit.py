"""A small folder of sound in ESC-50's layout, a plan that audits it in a second, and a finished report."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from fakes.codecs import SampleCodec

from envsound.base.files import write_csv, write_json, write_wav
from envsound.data.recordings import Recordings, load_recordings
from envsound.studies.audit.padding import PaddingPlan
from envsound.studies.audit.protocol import ProtocolPlan
from envsound.studies.audit.run import AuditPlan, AuditReport, run_audit
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import TrainingConfig

STUDY = Path(__file__).parents[2] / "data" / "published" / "published_study.csv"
SHAPE = ModelConfig(n_levels=2, codebook_size=16, dim=16, n_layers=1, n_heads=2, conv_kernel=3, dropout=0.0)
TRAINING = TrainingConfig(batch_size=4, lr=3e-3, precision="32-true")
PADDING = PaddingPlan(SHAPE, TRAINING, n_frames=12, n_steps=4, seeds=(0, 1))
PROTOCOL = ProtocolPlan(n_epochs=3, seeds=(0, 1), hidden=8)
CPU = torch.device("cpu")


def sound_folder(folder: Path, rate: int = 44_100, n_folds: int = 3, n_samples: int = 6000) -> Path:
    """Write two classes, two recordings of two clips each in every fold: hums and hisses of different brightness."""
    rng, rows = np.random.default_rng(0), []
    for fold in range(1, n_folds + 1):
        for target, name in enumerate(("hum", "hiss")):
            for source in range(2):
                for take in "AB":
                    hz = rng.uniform(200, 900) if name == "hum" else rng.uniform(4000, 9000)
                    tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(n_samples) / rate)
                    clip = tone + 0.002 * rng.standard_normal(n_samples)
                    filename = f"{fold}-{fold}{target}{source}-{take}-{target}.wav"
                    write_wav(folder / "audio" / filename, clip, rate)
                    rows.append({"filename": filename, "fold": fold, "target": target, "category": name, "esc10": True})
    write_csv(folder / "meta" / "esc50.csv", pd.DataFrame(rows))
    return folder


def sounds(folder: Path, **changes) -> Recordings:
    """Return the recordings of `sound_folder`, at 24 kHz."""
    return load_recordings("esc50", data_dir=str(sound_folder(folder, **changes)))


def audit_of(root: Path, rate: int = 44_100) -> AuditReport:
    """Audit the sounds of a folder made in `root` / sounds, in about a second."""
    plan = AuditPlan(PADDING, PROTOCOL, (20, 0), n_noise_clips=3, n_resamples=30)
    recordings = sounds(root / "sounds", rate=rate)
    given = {"cache_dir": root / "cache", "published": STUDY}
    return run_audit(recordings, SampleCodec(n_levels=2), plan, root / "work", "recorded clips", CPU, **given)


@cache
def finished_audit() -> AuditReport:
    """Return an audit of sounds at 44.1 kHz, made once for all tests: leave it as it is."""
    with TemporaryDirectory() as folder:
        return audit_of(Path(folder))


def write_report(report: AuditReport, folder: Path) -> Path:
    """Write a finished report of notebook 16 into `folder` and return it."""
    report.write(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in ("agreement", "padding"):
        (folder / "figures" / f"{name}.png").write_bytes(b"png")
    step = {
        "parameters": {"dataset": "esc50", "data_dir": "/home/me/ESC-50", "seeds": [0, 1], "padding_seeds": [4, 5]},
        "facts": report.facts, "seconds": 9.0, "started": "2026-01-02T03:04:05+00:00", "commit": "abc123",
        "device": "CPU test",
    }  # fmt: skip
    write_json(folder / "provenance.json", {"run": str(folder), "steps": {"16_audit_published_study": step}})
    return folder
