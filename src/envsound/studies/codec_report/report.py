"""A codec's whole report: every table that notebook 08 makes, measured on held-out clips and written to a folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envsound.base.device import choose_device, describe_device
from envsound.base.errors import InputError
from envsound.base.files import write_tables
from envsound.codec import load_codec
from envsound.codec.base import Codec
from envsound.codec.encodec_24khz import weights_here
from envsound.codec.systems import level_name, opus_available, systems, write_examples
from envsound.data.recordings import Recordings
from envsound.evaluation.judges import TIMED
from envsound.evaluation.listeners.mfcc import Listener, train_recogniser
from envsound.evaluation.listeners.training import ListenerTraining, train_listener
from envsound.evaluation.spaces.aisfx import FOLDER
from envsound.studies.codec_report.judged import aisfx_here, judge_systems
from envsound.studies.codec_report.measuring import (
    by_class,
    by_system,
    codebook_use,
    foretold,
    measure_ceiling,
    measure_clips,
    stability,
)

ENCODEC = "encodec_24khz"
Maker = Callable[[str | torch.device], Codec]


@dataclass(frozen=True)
class CodecReport:
    """The tables of a report: see the functions that make them for their columns."""

    clips: pd.DataFrame  # measuring.measure_clips
    systems: pd.DataFrame  # measuring.by_system
    by_class: pd.DataFrame  # measuring.by_class
    codebook: pd.DataFrame  # measuring.codebook_use
    speed: pd.DataFrame  # measure_speed
    ceiling: pd.DataFrame  # measuring.measure_ceiling, of the codec measured
    judged: pd.DataFrame  # judged.judge_systems
    predictability: pd.DataFrame  # measuring.foretold
    stability: pd.DataFrame  # measuring.stability
    examples: pd.DataFrame  # systems.write_examples; beside its sounds
    system: str  # the codec measured, with all its levels, as the tables name it
    facts: dict[str, Any]  # for the provenance


class ClipList(Sequence[np.ndarray]):
    """Clips of some recordings, float32 [n_samples] each, read from their files when they are asked for."""

    def __init__(self, recordings: Recordings, clip_ids: Sequence[str]):
        self.recordings, self.clip_ids = recordings, list(clip_ids)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, place: int) -> np.ndarray:
        return self.recordings.load(self.clip_ids[place])


def split(recordings: Recordings, held_out_fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the other folds, which listeners learn from, and of the held-out fold, which is measured.

    Raises InputError when either has no clip or the held-out fold has a class that the others lack.
    """
    is_held_out = recordings.table["fold"] == held_out_fold
    others, held_out = (recordings.table[rows].reset_index(drop=True) for rows in (~is_held_out, is_held_out))
    if held_out.empty or others.empty:
        folds = ", ".join(str(fold) for fold in sorted(recordings.table["fold"].unique()))
        raise InputError(f"held_out_fold={held_out_fold}: the recordings have folds {folds}; expected it and another")
    unknown = sorted(set(held_out["category"]) - set(others["category"]))
    if unknown:
        raise InputError(f"held_out_fold={held_out_fold}: no clip of class {unknown[0]!r} outside it; expected some")
    return others, held_out


def train_listeners(
    recordings: Recordings, rows: pd.DataFrame, cnn_epochs: int = 0, seed: int = 0, device: str = "auto"
) -> dict[str, Listener]:
    """Train every listener on the same real clips, rows of `recordings.table`; the first of them is the main one.

    `cnn`, a network on log-mel spectra trained for `cnn_epochs`, is left out at 0; `mfcc_svm`, a vector machine,
    is always there. There are two because one alone may be deaf to just what the codec spoils.
    """
    clips, names = ClipList(recordings, rows["clip_id"]), list(rows["category"])
    listeners: dict[str, Listener] = {}
    if cnn_epochs:
        training = ListenerTraining(n_epochs=cnn_epochs, seed=seed)
        listeners["cnn"] = train_listener(clips, names, recordings.sample_rate, training, device=device)
    return listeners | {"mfcc_svm": train_recogniser(clips, names, recordings.sample_rate)}


def codec_makers(codec: str, others: Sequence[str] = (), encodec_weights: str = "") -> dict[str, Maker]:
    """Return what loads each codec onto a device, by name: `codec` first, the files `others`, EnCodec if it is here.

    codec: as `load_codec` takes it. encodec_weights: see `weights_here`; absent, EnCodec is left out. A file has its
    own name, or that of its folder where it is called codec.safetensors, as notebook 00 writes it. Raises InputError
    when two have one name.
    """
    released = weights_here(encodec_weights)
    wanted = [codec, *others] + ([ENCODEC] if released and ENCODEC not in (codec, *others) else [])
    paths = {one: Path(one) for one in wanted}
    names = {one: path.parent.name if path.name == "codec.safetensors" else path.stem for one, path in paths.items()}
    if len(set(names.values())) < len(wanted):
        raise InputError(f"codecs {wanted}: called {', '.join(names.values())}; expected different names")
    weights = {ENCODEC: str(released or encodec_weights)}
    return {name: lambda device, one=one: load_codec(one, weights.get(one, ""), device) for one, name in names.items()}


def measure_speed(makers: Mapping[str, Maker], seconds: float = 5.0, repeats: int = 5) -> pd.DataFrame:
    """Return speed.csv: one row for each codec and device; the GPU's rows only where torch finds one (CUDA).

    makers: codecs by name, each a function of the device. A clip of noise of `seconds` goes through alone, `repeats`
    times after a warm-up. Columns: codec, device, device_name, clip_seconds, n_repeats, encode_seconds and
    decode_seconds (medians), and real_time_factor, seconds of sound encoded and decoded in one second.
    """
    rows = []
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        for name, make in makers.items():
            encode, decode = _seconds(make(device), seconds, repeats)
            row = {"codec": name, "device": device, "device_name": describe_device(torch.device(device))}
            row |= {"clip_seconds": seconds, "n_repeats": repeats, "encode_seconds": encode, "decode_seconds": decode}
            rows.append(row | {"real_time_factor": seconds / (encode + decode)})
    return pd.DataFrame(rows)


def _seconds(codec: Codec, seconds: float, repeats: int) -> tuple[float, float]:
    noise = 0.1 * torch.randn(1, round(seconds * codec.sample_rate), generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        codes = codec.encode(noise)
        codes.cpu()  # waits until a GPU has finished
        between = time.perf_counter()
        codec.decode(codes).cpu()
        times.append((between - began, time.perf_counter() - between))
    encode, decode = np.median(times[1:], axis=0)  # the first was the warm-up
    return float(encode), float(decode)


def measure_codec(
    recordings: Recordings,
    folder: str | Path,
    *,
    codec: str = "patches",
    other_codecs: Sequence[str] = (),
    codec_weights: str = "",
    held_out_fold: int = 1,
    listener_epochs: int = 0,
    package: str = FOLDER,
    timed: Sequence[str] = TIMED,
    n_examples: int = 12,
    seed: int = 0,
    device: str = "auto",
) -> CodecReport:
    """Measure a codec on the clips of one fold and write the report into `folder`, examples below it.

    codec: patches, encodec_24khz or a codec's file; other_codecs: paths of files to compare it with.
    EnCodec's released weights are added where they are here (`codec_weights`, or the torch hub cache), never
    downloaded. Listeners learn from the other folds; listener_epochs: see `train_listeners`. package: where `make
    judge` has put aiSFX, on which probe A is taught (see `judges.teach_probes` for `timed`).
    Raises InputError when a codec or the fold is not there, or codecs differ in their sample rate.
    """
    makers = codec_makers(codec, other_codecs, codec_weights)
    codecs = {name: make(device) for name, make in makers.items()}
    name, measured = next(iter(codecs.items()))
    compared = systems(codecs)
    heard, held_out = split(recordings, held_out_fold)
    listeners = train_listeners(recordings, heard, listener_epochs, seed, device)
    clips, categories = ClipList(recordings, held_out["clip_id"]), list(held_out["category"])
    rows = measure_clips(compared, clips, list(held_out["filename"]), categories, recordings.sample_rate, listeners)
    embedding = aisfx_here(package, device)
    tables = {
        "clips": rows,
        "systems": by_system(rows, compared),
        "by_class": by_class(rows),
        "codebook": codebook_use(codecs, clips),
        "speed": measure_speed(makers),
        "ceiling": measure_ceiling(measured, clips, categories),
        "judged": judge_systems(compared, recordings, held_out, embedding, held_out_fold, timed),
        "stability": stability(codecs, clips),
        "predictability": foretold(codecs, ClipList(recordings, heard["clip_id"]), clips),
    }
    write_tables(folder, tables)
    examples = write_examples(measured, name, recordings, held_out, Path(folder) / "examples", n_examples)
    facts = {"data_cut": recordings.cut, "n_held_out": len(held_out), "n_heard_by_listeners": len(heard)}
    facts |= {"codecs": {name: codec.content_hash for name, codec in codecs.items()}, "opus": opus_available()}
    facts["device_used"] = describe_device(choose_device(device))
    return CodecReport(**tables, examples=examples, system=level_name(name, measured.n_levels), facts=facts)
