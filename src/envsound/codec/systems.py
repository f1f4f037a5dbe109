"""What a codec is measured beside: itself with fewer levels, other codecs, Opus, white noise, and the originals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.codec import load_codec
from envsound.codec.base import Codec
from envsound.codec.encodec_24khz import RELEASED_SHA256, URL
from envsound.codec.opus import opus_available, through_opus
from envsound.codec.usage import bitrate

LEVELS = (8, 4, 2, 1)
OPUS_KBPS = (6, 12)  # kbit/s; Opus goes no lower than 6
OPUS = "Opus, {} kbit/s"
ORIGINAL, NOISE = "original", "white noise"
BATCH = 8  # clips that go through a codec together
ENCODEC = "encodec_24khz"

Clips = Sequence[np.ndarray]
Maker = Callable[[str | torch.device], Codec]


@dataclass(frozen=True)
class System:
    """One thing that is measured; codec is "" and n_levels 0 for what is no neural codec, kbps NaN without a rate."""

    name: str
    codec: str = ""
    n_levels: int = 0
    kbps: float = float("nan")


@dataclass(frozen=True)
class Family:
    """Systems that share work.

    `run` maps clips float32 [batch, n_samples] to the same from each system in turn.
    """

    systems: tuple[System, ...]
    run: Callable[[np.ndarray], Iterator[np.ndarray]]


def through_codec(clip: np.ndarray, codec: Codec, n_levels: int | None = None) -> np.ndarray:
    """Return a clip, float32 [n_samples], encoded and decoded with its first `n_levels` levels, same length."""
    return next(through_levels(clip[None], codec, [n_levels or codec.n_levels]))[0]


def through_levels(clips: np.ndarray, codec: Codec, levels: Sequence[int]) -> Iterator[np.ndarray]:
    """Encode clips, float32 [batch, n_samples], once and yield them decoded with each number of levels."""
    codes = codec.encode(torch.from_numpy(clips))  # [batch, n_levels, n_frames]
    for n_levels in levels:
        yield codec.decode(codes[:, :n_levels])[:, : clips.shape[1]].float().cpu().numpy()


def noise_like(clip: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return white noise with a clip's length and rms: what any codec must beat."""
    noise = np.random.default_rng([seed, len(clip)]).standard_normal(len(clip))
    return (noise * np.sqrt(np.mean(clip**2))).astype(np.float32)


def level_name(codec: str, n_levels: int) -> str:
    """Return the name of a codec's system, such as "bundled, 8 levels"."""
    return f"{codec}, {n_levels} level{'s' if n_levels > 1 else ''}"


def codec_family(codec: Codec, name: str) -> Family:
    """Return a codec at all its levels and at 8, 4, 2 and 1 of them (those it has)."""
    levels = sorted({codec.n_levels, *(n for n in LEVELS if n <= codec.n_levels)}, reverse=True)
    per_level = bitrate(codec) / codec.n_levels / 1000
    members = tuple(System(level_name(name, n), name, n, per_level * n) for n in levels)
    return Family(members, lambda clips: through_levels(clips, codec, levels))


def each(system: System, change: Callable[[np.ndarray], np.ndarray]) -> Family:
    """Return the family of one system that changes clips, float32 [n_samples], one by one."""
    return Family((system,), lambda clips: iter([np.stack([change(clip) for clip in clips])]))


def families(codecs: Mapping[str, Codec]) -> list[Family]:
    """Return everything that is measured: originals, codecs by name, Opus where it is installed, white noise.

    The first codec is the one measured. Raises InputError when another has a different sample rate.
    """
    first, rate = next((name, codec.sample_rate) for name, codec in codecs.items())
    for name, codec in codecs.items():
        if codec.sample_rate != rate:
            raise InputError(f"codec {name}: {codec.sample_rate} Hz; expected {rate} Hz like {first}")
    found = [Family((System(ORIGINAL),), lambda clips: iter([clips]))]
    found += [codec_family(codec, name) for name, codec in codecs.items()]
    for kbps in OPUS_KBPS if opus_available() else ():
        system = System(OPUS.format(kbps), kbps=kbps)
        found.append(each(system, lambda clip, kbps=kbps: through_opus(clip, rate, kbps)))
    return [*found, each(System(NOISE), noise_like)]


def equal_batches(clips: Clips, size: int = BATCH) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield clips that follow one another and have one length: their places, and float32 [at most size, n_samples].

    `clips` is asked for one clip after the other, so that a lazy sequence never holds them all.
    """
    places: list[int] = []
    batch: list[np.ndarray] = []
    for place in range(len(clips)):
        clip = clips[place]
        if batch and (len(batch) == size or len(clip) != len(batch[0])):
            yield places, np.stack(batch)
            places, batch = [], []
        places.append(place)
        batch.append(clip)
    if batch:
        yield places, np.stack(batch)


def encodec_weights_here(weights: str | Path = "") -> Path | None:
    """Return the file of EnCodec's released weights where this machine has it (None otherwise); downloads nothing.

    weights: a file; "" looks into the torch hub cache. Only a file with the release's SHA-256 counts.
    """
    path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[-1]
    return path if path.is_file() and sha256_file(path) == RELEASED_SHA256 else None


def codec_names(codecs: Sequence[str]) -> list[str]:
    """Return what codecs are called in tables: the name asked for, or a file's own without its suffix.

    A file called codec.safetensors, as notebook 00 writes it, has its folder's name; where two names agree, files have
    their folder's in front. Raises InputError when two still agree.
    """
    paths = [Path(codec) for codec in codecs]
    short = [path.parent.name if path.name == "codec.safetensors" else path.stem for path in paths]
    is_file = [path.suffix == ".safetensors" for path in paths]
    names = [
        f"{path.parent.name}/{name}" if file and short.count(name) > 1 else name
        for path, name, file in zip(paths, short, is_file, strict=True)
    ]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"codecs {list(codecs)}: two are called {repeated[0]!r}; expected different ones")
    return names


def codec_makers(codec: str, others: Sequence[str] = (), encodec_weights: str = "") -> dict[str, Maker]:
    """Return what loads each codec onto a device, by name: `codec` first, the files `others`, EnCodec if it is here.

    codec: as `load_codec` takes it. encodec_weights: see `encodec_weights_here`; absent, EnCodec is left out.
    """
    released = encodec_weights_here(encodec_weights)
    wanted = [codec, *others] + ([ENCODEC] if released and ENCODEC not in (codec, *others) else [])
    weights = {ENCODEC: str(released or encodec_weights)}
    return {
        name: lambda device, one=one: load_codec(one, weights.get(one, ""), device)
        for name, one in zip(codec_names(wanted), wanted, strict=True)
    }
