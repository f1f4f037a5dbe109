"""What a codec is measured beside: itself with fewer levels, other codecs, Opus, white noise, and the originals."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_csv, remove_written, write_csv, write_wav
from envsound.base.text import file_name
from envsound.codec.base import Codec
from envsound.codec.codes import bitrate
from envsound.data.recordings import Recordings

LEVELS = (8, 4, 2, 1)
FEWER_LEVELS = 2  # of an example that is heard with fewer
OPUS_KBPS = (6, 12)  # kbit/s; Opus goes no lower than 6
OPUS = "Opus, {} kbit/s"
OPUS_RATE = 48_000  # Hz, what opusdec is asked for
ORIGINAL, NOISE = "original", "white noise"
BATCH = 8  # clips that go through a codec together
EXAMPLE_COLUMNS = ["clip", "category", "original", "codec", "opus", "codec_name", "codec_kbps", "opus_kbps"]

Clips = Sequence[np.ndarray]


@dataclass(frozen=True)
class System:
    """One thing that is measured: `change` maps clips, float32 [batch, n_samples], to what comes out, of that shape.

    codec is "" and n_levels 0 for what is no neural codec, kbps NaN without a rate.
    """

    name: str
    change: Callable[[np.ndarray], np.ndarray]
    codec: str = ""
    n_levels: int = 0
    kbps: float = float("nan")


def through_codec(clip: np.ndarray, codec: Codec, n_levels: int | None = None) -> np.ndarray:
    """Return a clip, float32 [n_samples], encoded and decoded with its first `n_levels` levels, same length."""
    return next(through_levels(clip[None], codec, [n_levels or codec.n_levels]))[0]


def through_levels(clips: np.ndarray, codec: Codec, levels: Sequence[int]) -> Iterator[np.ndarray]:
    """Encode clips, float32 [batch, n_samples], once and yield them decoded with each number of levels."""
    codes = codec.encode(torch.from_numpy(clips))  # [batch, n_levels, n_frames]
    for n_levels in levels:
        yield codec.decode(codes[:, :n_levels])[:, : clips.shape[1]].float().cpu().numpy()


def opus_available() -> bool:
    """Say whether opusenc and opusdec are on the path (Debian's opus-tools)."""
    return all(shutil.which(tool) for tool in ("opusenc", "opusdec"))


def through_opus(clip: np.ndarray, sample_rate: int, kbps: int) -> np.ndarray:
    """Return a clip, float32 [n_samples], encoded by Opus at about `kbps` kbit/s and decoded again, same length.

    Raises InputError when the tools are missing or fail.
    """
    if not opus_available():
        raise InputError("opusenc, opusdec: not found; install opus-tools to compare with Opus")
    with tempfile.TemporaryDirectory() as folder:
        source, packed, decoded = (Path(folder) / name for name in ("in.wav", "packed.opus", "out.wav"))
        soundfile.write(source, clip, sample_rate, subtype="PCM_16")
        encode = ["opusenc", "--quiet", "--bitrate", str(kbps), "--vbr", str(source), str(packed)]
        decode = ["opusdec", "--quiet", "--rate", str(OPUS_RATE), str(packed), str(decoded)]
        for command in (encode, decode):
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise InputError(f"{command[0]}: failed on a clip of {len(clip)} samples ({result.stderr.strip()})")
        heard, rate = soundfile.read(decoded, dtype="float32", always_2d=True)
    heard = soxr.resample(heard.mean(1), rate, sample_rate)
    return np.pad(heard, (0, max(0, len(clip) - len(heard))))[: len(clip)].astype(np.float32)


def opus_kbps(codec: Codec) -> int:
    """Return the rate, kbit/s, at which Opus comes nearest to a codec's own; Opus goes no lower than 6."""
    return max(min(OPUS_KBPS), round(bitrate(codec) / 1000))


def noise_like(clip: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return white noise with a clip's length and rms: what any codec must beat."""
    noise = np.random.default_rng([seed, len(clip)]).standard_normal(len(clip))
    return (noise * np.sqrt(np.mean(clip**2))).astype(np.float32)


def level_name(codec: str, n_levels: int) -> str:
    """Return the name of a codec's system, such as "patches, 4 levels"."""
    return f"{codec}, {n_levels} level{'s' if n_levels > 1 else ''}"


def systems(codecs: Mapping[str, Codec]) -> list[System]:
    """Return everything that is measured: originals, codecs by name, Opus where it is installed, white noise.

    A codec is measured with all its levels and with 8, 4, 2 and 1 of them. The first codec is the one of interest.
    Raises InputError when another has a different sample rate.
    """
    first, rate = next((name, codec.sample_rate) for name, codec in codecs.items())
    found = [System(ORIGINAL, lambda clips: clips)]
    for name, codec in codecs.items():
        if codec.sample_rate != rate:
            raise InputError(f"codec {name}: {codec.sample_rate} Hz; expected {rate} Hz like {first}")
        per_level = bitrate(codec) / codec.n_levels / 1000
        for n in sorted({codec.n_levels, *(n for n in LEVELS if n <= codec.n_levels)}, reverse=True):
            some = lambda clips, codec=codec, n=n: next(through_levels(clips, codec, [n]))  # noqa: E731
            found.append(System(level_name(name, n), some, name, n, per_level * n))
    for kbps in OPUS_KBPS if opus_available() else ():
        opus = one_by_one(lambda clip, kbps=kbps: through_opus(clip, rate, kbps))
        found.append(System(OPUS.format(kbps), opus, kbps=kbps))
    return [*found, System(NOISE, one_by_one(noise_like))]


def one_by_one(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return what changes clips [batch, n_samples] from what changes one, float32 [n_samples]."""
    return lambda clips: np.stack([change(clip) for clip in clips])


def equal_batches(clips: Clips, size: int = BATCH) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield clips that follow one another and have one length: their places, and float32 [at most size, n_samples].

    `clips` is asked for one clip after the other, so that a lazy sequence never holds them all.
    """
    batch: list[np.ndarray] = []
    for place, clip in enumerate(clips):
        if batch and (len(batch) == size or len(clip) != len(batch[0])):
            yield list(range(place - len(batch), place)), np.stack(batch)
            batch = []
        batch.append(clip)
    if batch:
        yield list(range(len(clips) - len(batch), len(clips))), np.stack(batch)


def write_examples(
    codec: Codec, name: str, recordings: Recordings, held_out: pd.DataFrame, folder: str | Path, n_examples: int
) -> pd.DataFrame:
    """Write held-out clips as original, through the codec, and through Opus; return and write `examples.csv`.

    The first clip of every class, then the second, and so on: nothing is picked by ear. Columns: clip, category,
    original, codec, opus (names of 16-bit wav files in `folder`; opus "" where Opus is not installed), codec_name
    (`name`), codec_kbps, opus_kbps. Beside them lies what FEWER_LEVELS of the codec's levels give, <clip>_2_levels.wav.
    Older examples in `folder` are removed, and no other file. Raises InputError for n_examples below 0, and when
    `folder` is a link.
    """
    if n_examples < 0:
        raise InputError(f"n_examples={n_examples}: expected 0 or more")
    folder, kbps, rows = Path(folder), opus_kbps(codec), []
    remove_written(folder, _written_before(folder))
    turn = held_out.groupby("category").cumcount().sort_values(kind="stable")
    for row in held_out.loc[turn.index[:n_examples]].itertuples():
        clip = recordings.load(row.clip_id)
        sounds = {"original": clip, "codec": through_codec(clip, codec)}
        if codec.n_levels > FEWER_LEVELS:
            sounds[f"{FEWER_LEVELS}_levels"] = through_codec(clip, codec, FEWER_LEVELS)
        if opus_available():
            sounds["opus"] = through_opus(clip, codec.sample_rate, kbps)
        names = {kind: f"{file_name(row.clip_id.replace('/', '_'))}_{kind}.wav" for kind in sounds}
        for kind, sound in sounds.items():
            write_wav(folder / names[kind], sound, codec.sample_rate)
        rates = {"codec_name": name, "codec_kbps": bitrate(codec) / 1000, "opus_kbps": kbps}
        rows.append({"clip": row.clip_id, "category": row.category, "opus": "", **names, **rates})
    examples = pd.DataFrame(rows, columns=EXAMPLE_COLUMNS)
    write_csv(folder / "examples.csv", examples)
    return examples


def _written_before(folder: Path) -> list[str]:
    """Return the names of the sounds that an earlier examples.csv tells of; none without one."""
    if not (folder / "examples.csv").is_file():
        return []
    table = read_csv(folder / "examples.csv")
    named = [name for column in ("original", "codec", "opus") if column in table for name in table[column]]
    few = [f"{name.removesuffix('codec.wav')}{FEWER_LEVELS}_levels.wav" for name in named if name.endswith("codec.wav")]
    return [name for name in (*named, *few) if name]
