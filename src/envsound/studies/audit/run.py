"""The audit of the published study: its figures checked by rule, and what can be re-run done both ways on clips.

What needs no clip (figures, tests, intervals) is computed from the table of published figures alone. What needs clips
is computed from the recordings that are given, whatever they are, and says so with every number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.base.table_files import write_tables
from envsound.codec.base import Codec
from envsound.codec.codes import encode_recordings
from envsound.data.folds import split_folds
from envsound.data.recordings import Recordings
from envsound.metrics.published import PUBLISHED
from envsound.studies.audit.padding import PaddingPlan, run_padding
from envsound.studies.audit.protocol import ProtocolPlan, audit_protocol, run_protocol
from envsound.studies.audit.published_figures import audit_figures
from envsound.studies.audit.rates import audit_rates, measure_rates, rates_of
from envsound.studies.audit.snr import audit_snr
from envsound.studies.audit.statistics import audit_classes, audit_ks
from envsound.systems.soundstorm.batches import load_code_set

TABLES = (
    "audit_figures", "audit_rates", "audit_snr", "audit_padding", "audit_protocol", "audit_ks", "audit_classes",
)  # fmt: skip
OPTIONAL = ("audit_clips", "audit_protocol_runs")  # what the tables above were computed from


@dataclass(frozen=True)
class AuditPlan:
    """What is re-run: true ratios (dB) and clips of the noise test, the two small trainings, the resamples."""

    padding: PaddingPlan
    protocol: ProtocolPlan
    true_snrs_db: Sequence[float] = (40, 30, 20, 10, 0)
    n_noise_clips: int = 20
    held_out_fold: int = 1  # watched by the trainings of the padding
    n_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class AuditReport:
    """A table for each of TABLES and OPTIONAL, and facts for the provenance."""

    tables: dict[str, pd.DataFrame]
    facts: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.tables[name]

    @property
    def rates(self) -> tuple[int, int]:
        """The two rates in Hz that clips were to be analysed at."""
        return self.facts["rate_high_hz"], self.facts["rate_low_hz"]

    def write(self, folder: str | Path) -> None:
        """Write each table as csv into a folder."""
        write_tables(folder, self.tables)


def read_report(folder: str | Path, facts: dict[str, Any]) -> AuditReport:
    """Return a report from the folder it was written to, without OPTIONAL; facts: those of its provenance.

    Raises InputError when a table is missing.
    """
    return AuditReport({name: read_csv(Path(folder) / f"{name}.csv") for name in TABLES}, facts)


def kind_of_clips(dataset: str) -> str:
    """Return what the clips of a data set of `load_recordings` are, in the words that go with every number."""
    return "synthetic clips" if dataset == "synthetic" else "recorded clips"


def run_audit(
    recordings: Recordings,
    codec: Codec,
    plan: AuditPlan,
    folder: str | Path,
    kind: str,
    device: torch.device,
    cache_dir: str | Path = "data/cache/codes",
    published: str | Path = PUBLISHED,
) -> AuditReport:
    """Run every part of the audit; the trainings keep their states below `folder` and go on where they were.

    recordings: at the codec's rate; their files are read again for the comparison of rates. kind: see `kind_of_clips`.
    Raises InputError when the fold to hold out is not there, and as the parts do.
    """
    drawn = {"seed": plan.seed, "n_resamples": plan.n_resamples, "published": published}
    found = {"audit_figures": audit_figures(published)}
    found |= {"audit_ks": audit_ks(published), "audit_classes": audit_classes(published)}
    rates = rates_of(recordings, published)
    clips = measure_rates(recordings, rates)
    found |= {"audit_rates": audit_rates(clips, rates, kind, **drawn), "audit_clips": clips}
    found["audit_snr"] = audit_snr(recordings, clips, kind, plan.true_snrs_db, plan.n_noise_clips, **drawn)
    codes = encode_recordings(recordings, codec, cache_dir, device)
    found["audit_padding"] = _padding(codes, codec, plan, Path(folder) / "padding", kind, device)
    runs = run_protocol(codes, plan.protocol, codec.codebook_size, kind, codec.content_hash)
    found |= {"audit_protocol": audit_protocol(runs, plan.seed, plan.n_resamples), "audit_protocol_runs": runs}
    facts = {"data_cut": recordings.cut, "kind": kind, "rate_high_hz": rates[0], "rate_low_hz": rates[1]}
    facts |= {"codec": codec.name, "codec_hash": codec.content_hash, "codebook_size": codec.codebook_size}
    return AuditReport(found, facts)


def _padding(
    codes: pd.DataFrame, codec: Codec, plan: AuditPlan, folder: Path, kind: str, device: torch.device
) -> pd.DataFrame:
    if plan.padding.model.codebook_size != codec.codebook_size or plan.padding.model.n_levels != codec.n_levels:
        raise InputError(f"padding: a model of another shape than codec {codec.name}; expected its levels and codes")
    sides = split_folds(codes, plan.held_out_fold, [])
    train, watched = (load_code_set(side.assign(category="any"), ["any"], codec.content_hash) for side in sides)
    return run_padding(plan.padding, train, watched, folder, kind, device, codec.content_hash)
