"""What notebook 01 shows of a codec: its facts, how evenly its codes are used, what it makes of a clip."""

from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.codes import load_codes
from envsound.data.audio import RESAMPLER
from envsound.data.recordings import Recordings


def bitrate(codec: Codec) -> float:
    """Return a codec's rate in bit/s: n_levels codes of log2(codebook_size) bits in each frame."""
    return codec.frame_rate * codec.n_levels * float(np.log2(codec.codebook_size))


def codec_facts(codec: Codec) -> str:
    """Return what there is to know about a codec as a table in Markdown."""
    state = codec.model.state_dict() if hasattr(codec, "model") else {}
    n_values = sum(value.numel() for value in state.values())
    facts = {
        "name": codec.name,
        "stored values (weights and codebooks)": f"{n_values:,}" if state else "unknown",
        "sample rate (Hz)": f"{codec.sample_rate:,}",
        "frame rate (frames/s)": f"{codec.frame_rate:g}",
        "levels": str(codec.n_levels),
        "codes per level": str(codec.codebook_size),
        "bitrate (kbit/s)": f"{bitrate(codec) / 1000:.2f}",
        "content hash": codec.content_hash,
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {fact} | {value} |" for fact, value in facts.items())])


def code_counts(codes_table: pd.DataFrame, codebook_size: int) -> np.ndarray:
    """Count how often each code occurs in all clips: int [n_levels, codebook_size].

    codes_table: as `encode_recordings` returns it.
    Raises InputError for an empty table or clips that differ in their number of levels.
    """
    clips = [load_codes(file) for file in codes_table["codes_file"]]
    if len({len(codes) for codes in clips}) != 1:
        raise InputError(f"codes table of {len(clips)} clips: expected at least one, all with as many levels")
    return count_codes(np.concatenate(clips, axis=1), codebook_size)


def count_codes(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """Count how often each code occurs in codes, int [..., n_levels, n_frames]: int [n_levels, codebook_size]."""
    levels = np.moveaxis(codes, -2, 0)
    return np.stack([np.bincount(level.ravel(), minlength=codebook_size) for level in levels])


def code_usage(counts: np.ndarray) -> pd.DataFrame:
    """Return one row for each level: level, codes_used, used_share (0 to 1), entropy_bits, perplexity.

    counts: as `count_codes` returns them. entropy_bits is the entropy of the level's code frequencies, from 0 to
    log2(codebook_size), when all codes are equally frequent; perplexity is 2 to its power, as many equally frequent
    codes as would carry the same information.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    used = (counts > 0).sum(axis=1)
    entropy_bits = np.abs((shares * logs).sum(axis=1))
    columns = {
        "level": range(len(counts)),
        "codes_used": used,
        "used_share": used / counts.shape[1],
        "entropy_bits": entropy_bits,
        "perplexity": 2**entropy_bits,
    }
    return pd.DataFrame(columns)


def bad_clips_shown(recordings: Recordings) -> pd.DataFrame | Markdown:
    """Return the table of bad clips (filename, fold, category, reason), or a sentence that there is none."""
    bad = recordings.bad_clips[["filename", "fold", "category", "reason"]]
    return Markdown(f"None: all {len(recordings.report)} clips can be used.") if bad.empty else bad


def facts_of(recordings: Recordings, codec: Codec) -> dict[str, Any]:
    """Return what the run's provenance should say of its recordings and its codec."""
    return {
        "data_cut": recordings.cut,
        "n_clips": len(recordings.table),
        "bad_clips": recordings.bad_clips["filename"].tolist(),
        "resampler": RESAMPLER,
        "codec": codec.name,
        "codec_hash": codec.content_hash,
        "codec_bits_per_second": bitrate(codec),
    }


def findings(recordings: Recordings, codec: Codec, usage: pd.DataFrame) -> str:
    """Return two sentences, in Markdown, on how many clips were encoded and what their codes hold."""
    n_clips, n_all = len(recordings.table), len(recordings.report)
    entropy = usage["entropy_bits"].sum() * codec.frame_rate / 1000
    fullest, emptiest = usage.loc[usage["used_share"].idxmax()], usage.loc[usage["used_share"].idxmin()]
    return (
        f"**{n_clips} of {n_all} clips were encoded** with the codec `{codec.name}` ({recordings.cut}); "
        f"{n_all - n_clips} could not be used. "
        f"The codes take {bitrate(codec) / 1000:.2f} kbit/s, {entropy:.2f} kbit/s by entropy; "
        f"the share of a level's {codec.codebook_size} codes in use runs from {emptiest['used_share']:.0%} "
        f"(level {emptiest['level']:.0f}) to {fullest['used_share']:.0%} (level {fullest['level']:.0f})."
    )
