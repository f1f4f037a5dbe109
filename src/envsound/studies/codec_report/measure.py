"""A codec's whole report: every table that notebook 08 makes, measured on held-out clips and written to a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.table_files import write_tables
from envsound.codec.systems import codec_makers, families
from envsound.data.recordings import Recordings
from envsound.studies.codec_report.ceiling import ceiling_table, measure_ceiling
from envsound.studies.codec_report.examples import write_examples
from envsound.studies.codec_report.goals import all_levels, findings, goals
from envsound.studies.codec_report.held_out import ClipList, report_facts, split, train_listeners
from envsound.studies.codec_report.report import by_class, by_system, codebook_use, measure_clips
from envsound.studies.codec_report.speed import measure_speed


@dataclass(frozen=True)
class CodecReport:
    """The tables of a report, one csv file each: see the functions that make them for their columns."""

    clips: pd.DataFrame  # report.measure_clips
    systems: pd.DataFrame  # report.by_system
    by_class: pd.DataFrame  # report.by_class
    codebook: pd.DataFrame  # report.codebook_use
    speed: pd.DataFrame  # speed.measure_speed
    ceiling: pd.DataFrame  # ceiling.ceiling_table, of the codec measured
    goals: pd.DataFrame  # goals.goals
    examples: pd.DataFrame  # examples.write_examples
    codec: str  # name of the codec measured
    facts: dict[str, Any]  # for the provenance

    @property
    def system(self) -> str:
        """The name of the codec with all its levels, as the tables have it."""
        return str(all_levels(self.systems, self.codec)["system"])

    def write(self, folder: str | Path) -> None:
        """Write every table but the examples, which lie beside their sounds, as <name>.csv."""
        names = [table.name for table in fields(self) if table.type is pd.DataFrame and table.name != "examples"]
        write_tables(folder, {name: getattr(self, name) for name in names})

    def findings(self) -> str:
        """Return what was found in words, with the data cut, as Markdown."""
        found = findings(self.systems, self.ceiling, self.goals, self.codec)
        return f"{found}\n\nMeasured on {self.facts['n_held_out']} clips held out of: {self.facts['data_cut']}."


def measure_codec(
    recordings: Recordings,
    folder: str | Path,
    *,
    codec: str = "bundled",
    other_codecs: Sequence[str] = (),
    codec_weights: str = "",
    held_out_fold: int = 1,
    listener_epochs: int = 0,
    n_examples: int = 12,
    seed: int = 0,
    device: str = "auto",
) -> CodecReport:
    """Measure a codec on the clips of one fold and write the report into `folder`, examples below it.

    codec: bundled, encodec_24khz or the path of a codec's file; other_codecs: paths of files to compare it with.
    EnCodec's released weights are added where they are here (`codec_weights`, or the torch hub cache), never
    downloaded. Listeners learn from the other folds; listener_epochs: see `train_listeners`.
    Raises InputError when a codec or the fold is not there, or codecs differ in their sample rate.
    """
    makers = codec_makers(codec, other_codecs, codec_weights)
    codecs = {name: make(device) for name, make in makers.items()}
    name, measured = next(iter(codecs.items()))
    systems = families(codecs)
    heard, held_out = split(recordings, held_out_fold)
    listeners = train_listeners(recordings, heard, listener_epochs, seed, device)
    clips, categories = ClipList(recordings, held_out["clip_id"]), list(held_out["category"])
    rate, frames = recordings.sample_rate, measured.frame_rate
    rows = measure_clips(systems, clips, list(held_out["filename"]), categories, rate, listeners, frames)
    table = by_system(rows, [system for family in systems for system in family.systems])
    codebook = codebook_use(codecs, clips)
    report = CodecReport(
        clips=rows,
        systems=table,
        by_class=by_class(rows),
        codebook=codebook,
        speed=measure_speed(makers),
        ceiling=ceiling_table(*measure_ceiling(measured, clips, categories)),
        goals=goals(table, codebook, name),
        examples=write_examples(measured, name, recordings, held_out, Path(folder) / "examples", n_examples),
        codec=name,
        facts=report_facts(recordings, heard, held_out, codecs, device),
    )
    report.write(folder)
    return report
