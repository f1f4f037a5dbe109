"""Codes of clips: computed once per clip and codec, kept under a name made of all they depend on, and counted."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import soxr
import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm

from envsound.base import cache
from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file
from envsound.base.tensors import read_header, read_tensors, write_tensors
from envsound.base.text import markdown_table
from envsound.codec.base import Codec, check_codes
from envsound.data.audio import RESAMPLER
from envsound.data.recordings import Recordings

COLUMNS = ["clip_id", "filename", "path", "fold", "category", "target", "copy", "n_frames", "seconds", "codes_file"]
TENSOR = "codes"
FACTS = ("key", "codec_hash", "n_samples")


class Clips(Protocol):
    """Clips to encode: `Recordings`, or their augmented `Copies`, which load either (see `envsound.data.copies`)."""

    table: pd.DataFrame

    def load(self, clip_id: str) -> np.ndarray:
        """Return one clip, float32 [n_samples]."""


def code_parts(path: str | Path, sample_rate: int, clip_seconds: float, codec_hash: str, changes: str = "") -> list:
    """Return all that a clip's codes depend on; `cache.key` of it names their file.

    That is the audio file's bytes, the rate (Hz) and length (s) it is brought to, how it is brought there (mixing,
    resampler and version), the codec's content hash, and `changes`, which says how the clip was altered ("" for a
    recording as it is).
    """
    parts = [sha256_file(path), int(sample_rate), float(clip_seconds), RESAMPLER, codec_hash]
    return parts + [changes] * bool(changes)


def encode_recordings(
    recordings: Recordings,
    codec: Codec,
    cache_dir: str | Path = cache.FOLDER / "codes",
    batch_size: int = 8,
    copies: Clips | None = None,
) -> pd.DataFrame:
    """Return codes.csv as a table, one row for each clip in the order of `recordings.table`, then one for each copy.

    Columns: clip_id, filename, path, fold, category, target, copy (0, or the number of an augmented copy), n_frames,
    seconds, codes_file (relative to the working directory where it lies below it). Only clips that the cache lacks, or
    whose file is truncated or altered, are encoded; each is stored as soon as its batch is done. Clips of a batch have
    one length, so that none needs padding.
    Raises InputError when codec and recordings differ in rate, or what the codec returns is not codes.
    """
    if (rate := recordings.sample_rate) != codec.sample_rate:
        raise InputError(f"codec at {codec.sample_rate} Hz, recordings at {rate} Hz: expected one rate")
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: expected at least 1")
    table = recordings.table.assign(copy=0, depends_on="")
    table = table if copies is None else pd.concat([table, copies.table], ignore_index=True)
    fixed = (rate, recordings.clip_seconds, codec.content_hash)
    parts = [code_parts(path, *fixed, how) for path, how in zip(table["path"], table["depends_on"], strict=True)]
    keys = [cache.key(*one) for one in parts]
    lengths = dict(zip(keys, table["n_samples"].tolist(), strict=True))
    form = cache.Format(
        ".safetensors",
        lambda file: load_codes(file, codec.content_hash),
        lambda file, codes: save_codes(file, codes, codec.content_hash, lengths[file.stem]),
    )
    order = np.argsort(table["n_samples"].to_numpy(), kind="stable")  # clips of one length follow one another
    clips = recordings if copies is None else copies
    make = lambda places: _encoded(clips, codec, table.iloc[order[places]], batch_size)  # noqa: E731
    cache.kept_all(cache_dir, [parts[place] for place in order], make, form)
    folder, here = Path(cache_dir).absolute(), Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    files = [(folder / f"{one}.safetensors").as_posix() for one in keys]
    n_frames = [codec.n_frames(n_samples) for n_samples in table["n_samples"]]
    return table.assign(codes_file=files, n_frames=n_frames)[COLUMNS].reset_index(drop=True)


def _encoded(clips: Clips, codec: Codec, table: pd.DataFrame, batch_size: int) -> Iterator[np.ndarray]:
    """Yield the codes, int [n_levels, n_frames], of clips that come ordered by their length."""
    with tqdm(total=len(table), desc="encoding clips", unit="clip") as bar:
        for n_samples, group in table.groupby("n_samples"):
            for start in range(0, len(group), batch_size):
                batch = [clips.load(clip_id) for clip_id in group["clip_id"].iloc[start : start + batch_size]]
                codes = codec.encode(torch.from_numpy(np.stack(batch)), torch.full((len(batch),), n_samples)).cpu()
                expected = (len(batch), codec.n_levels, codec.n_frames(n_samples))  # [batch, n_levels, n_frames]
                if (shape := tuple(codes.shape)) != expected:
                    raise InputError(f"codec {codec.name}: returned codes of shape {shape}; expected {expected}")
                check_codes(codes, codec.n_levels, codec.codebook_size)
                yield from codes.numpy()
                bar.update(len(batch))


def save_codes(path: str | Path, codes: np.ndarray, codec_hash: str, n_samples: int) -> None:
    """Store one clip's codes, int [n_levels, n_frames], as int16, atomically; the file's stem is its key."""
    small = np.ascontiguousarray(codes, dtype=np.int16)
    facts = {"key": Path(path).stem, "codec_hash": codec_hash, "n_samples": n_samples}
    write_tensors(path, {TENSOR: torch.from_numpy(small)}, TENSOR, facts | {"sha256": _checksum(small, facts)})


def load_codes(path: str | Path, codec_hash: str | None = None) -> np.ndarray:
    """Return one clip's codes, int16 [n_levels, n_frames], from a file that `encode_recordings` made.

    Raises InputError when the file is missing, truncated or altered, or when another codec than the one with
    `codec_hash` made the codes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected codes, which notebook 01 makes")
    try:
        tensors, facts = read_tensors(path, TENSOR)
        codes = tensors[TENSOR].numpy().copy()  # the tensor itself is a window onto the file
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: truncated or not a file of codes ({error}); delete it and encode again") from None
    if facts.get("key") != path.stem or facts.get("sha256") != _checksum(codes, facts) or codes.ndim != 2:
        raise InputError(f"{path}: altered, its checksum does not match; delete it and encode again")
    if codec_hash is not None and (made_by := facts["codec_hash"]) != codec_hash:
        expected = f"expected codes of codec {codec_hash}, so encode the clips with the codec in use"
        raise InputError(f"{path}: made by codec {made_by}; {expected}")
    return codes


def stored_codec_hash(path: str | Path) -> str:
    """Return the content hash of the codec that made a cache file.

    Raises InputError when the file is missing or damaged.
    """
    load_codes(path)
    return read_header(path, TENSOR)["codec_hash"]


def _checksum(codes: np.ndarray, facts: dict[str, Any]) -> str:
    """Return the SHA-256 over the codes' bytes, type and shape, and the facts stored with them."""
    label = json.dumps([str(codes.dtype), codes.shape, *(facts.get(name) for name in FACTS)])
    return sha256_bytes(label.encode() + codes.tobytes())


def bitrate(codec: Codec) -> float:
    """Return a codec's rate in bit/s: n_levels codes of log2(codebook_size) bits in each frame."""
    return codec.frame_rate * codec.n_levels * float(np.log2(codec.codebook_size))


def codec_facts(codec: Codec) -> str:
    """Return what there is to know about a codec as a table in Markdown."""
    weights = codec.model.state_dict() if hasattr(codec, "model") else {}
    n_values = sum(value.numel() for value in weights.values())
    facts = {
        "stored values (weights and codebooks)": f"{n_values:,}" if n_values else "unknown",
        "sample rate (Hz)": f"{codec.sample_rate:,}",
        "frame rate (frames/s)": f"{codec.frame_rate:g}",
        "levels": str(codec.n_levels),
        "codes per level": str(codec.codebook_size),
        "bitrate (kbit/s)": f"{bitrate(codec) / 1000:.2f}",
        "content hash": codec.content_hash,
    }
    return "\n".join(markdown_table(["codec", codec.name], [list(fact) for fact in facts.items()]))


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


def equal_codes(first: Recordings, second: Recordings, codec: Codec) -> pd.DataFrame:
    """Return how many codes the same clips of two sets share, such as the clips that ship and those they were made of.

    Clips are the same when their clip_id is. A row for each level: level, n_clips, n_codes (compared, at equal places
    in time) and share of equal ones (0 to 1); none where no clip is in both.
    """
    names = sorted(set(first.table["clip_id"]) & set(second.table["clip_id"]))
    if not names:
        return pd.DataFrame(columns=["level", "n_clips", "n_codes", "share"])
    equal = []
    for one, other in zip(_codes_of(first, names, codec), _codes_of(second, names, codec), strict=True):
        n_frames = min(one.shape[1], other.shape[1])
        equal.append(one[:, :n_frames] == other[:, :n_frames])
    shares = np.concatenate(equal, axis=1)
    n_codes, share = shares.shape[1], shares.mean(axis=1)
    return pd.DataFrame({"level": range(len(shares)), "n_clips": len(names), "n_codes": n_codes, "share": share})


def _codes_of(recordings: Recordings, names: list[str], codec: Codec) -> list[np.ndarray]:
    chosen = replace(recordings, table=recordings.table[recordings.table["clip_id"].isin(names)])
    files = encode_recordings(chosen, codec).set_index("clip_id")["codes_file"]
    return [load_codes(files[name]) for name in names]


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
    used, entropy_bits = (counts > 0).sum(axis=1), np.abs((shares * logs).sum(axis=1))
    table = {"level": range(len(counts)), "codes_used": used, "used_share": used / counts.shape[1]}
    return pd.DataFrame(table | {"entropy_bits": entropy_bits, "perplexity": 2**entropy_bits})


def decode_clip(codes_file: str | Path, seconds: float, codec: Codec, sample_rate: int) -> np.ndarray:
    """Decode one clip's cached codes to float32 [n_samples] at `sample_rate` Hz, cut to `seconds`."""
    clip = decode(load_codes(codes_file, codec.content_hash), seconds, codec)
    return clip if sample_rate == codec.sample_rate else soxr.resample(clip, codec.sample_rate, sample_rate)


def decode(codes: np.ndarray, seconds: float, codec: Codec) -> np.ndarray:
    """Decode codes int [n_levels, n_frames] to float32 [n_samples] at the codec's rate, cut to `seconds`."""
    with torch.inference_mode():
        clip = codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0].float().cpu().numpy()
    return clip[: round(seconds * codec.sample_rate)]
