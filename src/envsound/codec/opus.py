"""Opus, the codec everyone has, as a yardstick: the system's opusenc and opusdec, where they are installed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from envsound.base.errors import InputError

OPUS_RATE = 48_000  # Hz, what opusdec is asked for


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
