"""Codes of every clip, computed once per clip and codec, in a cache named after all they depend on."""

import json
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file
from envsound.base.tensors import read_header, read_tensors, write_tensors
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


def cache_key(path: str | Path, sample_rate: int, clip_seconds: float, codec_hash: str, depends_on: str = "") -> str:
    """Return 64 hexadecimal digits that change with anything a clip's codes depend on.

    These are the audio file's bytes, the rate (Hz) and length (s) it is brought to, how it is brought there
    (mixing, resampler and version), the codec's content hash, and `depends_on`, which says how the clip was altered
    ("" for a recording as it is).
    """
    parts = [sha256_file(path), int(sample_rate), float(clip_seconds), RESAMPLER, codec_hash]
    parts += [depends_on] * bool(depends_on)
    return sha256_bytes(json.dumps(parts).encode())


def encode_recordings(
    recordings: Recordings,
    codec: Codec,
    cache_dir: str | Path = "data/cache/codes",
    device: str | torch.device | None = None,
    batch_size: int = 8,
    copies: Clips | None = None,
) -> pd.DataFrame:
    """Return codes.csv as a table, one row for each clip in the order of `recordings.table`, then one for each copy.

    Columns: clip_id, filename, path, fold, category, target, copy (0, or the number of an augmented copy), n_frames,
    seconds, codes_file (relative to the working directory where it lies below it). Only clips that the cache lacks are
    encoded; each is stored as soon as its batch is done. Clips of a batch have one length, so that none needs padding.
    A cache file that is truncated or altered is encoded again, with a warning.
    device: where clips are moved before the codec sees them; None leaves that to the codec.
    Raises InputError when codec and recordings differ in rate, or what the codec returns is not codes.
    """
    if codec.sample_rate != recordings.sample_rate:
        raise InputError(
            f"codec at {codec.sample_rate} Hz, recordings at {recordings.sample_rate} Hz: expected one rate"
        )
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: expected at least 1")
    clips = recordings if copies is None else copies
    table = recordings.table.assign(copy=0, depends_on="")
    table = table if copies is None else pd.concat([table, copies.table], ignore_index=True)
    table["codes_file"] = _cache_files(table, cache_dir, codec, recordings.clip_seconds)
    missing = table[[not _is_sound(Path(file), codec.content_hash) for file in table["codes_file"]]]
    device = choose_device(device) if isinstance(device, str) else device
    with tqdm(total=len(table), initial=len(table) - len(missing), desc="encoding clips", unit="clip") as bar:
        for n_samples, group in missing.groupby("n_samples"):
            for start in range(0, len(group), batch_size):
                batch = group.iloc[start : start + batch_size]
                _encode_batch(clips, codec, batch, int(n_samples), device)
                bar.update(len(batch))
    table["n_frames"] = [codec.n_frames(n_samples) for n_samples in table["n_samples"]]
    return table[COLUMNS].reset_index(drop=True)


def _cache_files(table: pd.DataFrame, cache_dir: str | Path, codec: Codec, clip_seconds: float) -> list[str]:
    """Return the cache file of each row, relative to the working directory where it lies below it."""
    folder, here = Path(cache_dir).absolute(), Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    fixed = (codec.sample_rate, clip_seconds, codec.content_hash)
    rows = zip(table["path"], table["depends_on"], strict=True)
    return [(folder / f"{cache_key(path, *fixed, how)}.safetensors").as_posix() for path, how in rows]


def _is_sound(path: Path, codec_hash: str) -> bool:
    """Say whether a cache file can be used; warn when one is there but cannot."""
    if not path.exists():
        return False
    try:
        load_codes(path, codec_hash)
    except InputError as error:
        warnings.warn(f"{error}; the clip is encoded again", stacklevel=3)
        return False
    return True


def _encode_batch(clips: Clips, codec: Codec, batch: pd.DataFrame, n_samples: int, device: torch.device | None) -> None:
    """Encode clips of one length and store each one's codes."""
    samples = torch.from_numpy(np.stack([clips.load(clip_id) for clip_id in batch["clip_id"]]))
    samples = samples if device is None else samples.to(device)
    lengths = torch.full((len(batch),), n_samples)
    codes = codec.encode(samples, lengths).cpu()  # [batch, n_levels, n_frames]
    expected = (len(batch), codec.n_levels, codec.n_frames(n_samples))
    if codes.shape != expected:
        raise InputError(f"codec {codec.name}: returned codes of shape {tuple(codes.shape)}; expected {expected}")
    check_codes(codes, codec.n_levels, codec.codebook_size)
    for row, file in enumerate(batch["codes_file"]):
        save_codes(file, codes[row].numpy(), codec.content_hash, n_samples)


def save_codes(path: str | Path, codes: np.ndarray, codec_hash: str, n_samples: int) -> None:
    """Store one clip's codes, int [n_levels, n_frames], as int16, atomically; the file's stem is its key."""
    small = np.ascontiguousarray(codes, dtype=np.int16)
    facts = {"key": Path(path).stem, "codec_hash": codec_hash, "n_samples": n_samples}
    facts["sha256"] = _checksum(small, facts)
    write_tensors(path, {TENSOR: torch.from_numpy(small)}, TENSOR, facts)


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
    if codec_hash is not None and facts["codec_hash"] != codec_hash:
        raise InputError(
            f"{path}: made by codec {facts['codec_hash']}; expected codes of codec {codec_hash}, "
            "so encode the clips with the codec in use"
        )
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
