"""Features of recordings for recognisers: computed once per clip, kept in a cache named after all they depend on."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from envsound.base.cache import libraries
from envsound.base.errors import InputError
from envsound.base.files import atomic_path, sha256_bytes
from envsound.studies.recognition.rounds import Clips

CACHE = Path("data/cache/features")
Compute = Callable[[Path, Path], np.ndarray]  # a clip's audio file and its file of codes -> an array


def cached_features(clips: Clips, compute: Compute, depends_on: str, cache_dir: str | Path = CACHE) -> list[np.ndarray]:
    """Return what `compute` makes of each clip, in order; only clips that the cache lacks are computed.

    depends_on: text that changes with whatever the features depend on beside the recording: what they are, their
    settings, and the hash of the code. The recording itself is known by the name of its cached codes, which stands for
    the audio file's bytes, how they are read, and the codec (`codes.cache_key`). A damaged cache file is computed anew.
    Raises InputError when a feature is not finite.
    """
    found, name = [], depends_on.partition(" ")[0]
    rows = zip(clips.files, clips.codes_files, strict=True)
    for file, codes_file in tqdm(rows, total=len(clips), desc=f"{name} features", unit="clip", leave=False):
        parts = json.dumps([Path(codes_file).stem, depends_on, libraries("numpy", "scipy", "librosa")])
        kept = Path(cache_dir) / f"{sha256_bytes(parts.encode())}.npy"
        features = _load(kept)
        if features is None:
            features = np.asarray(compute(file, codes_file))
            if not np.isfinite(features).all():
                raise InputError(f"{file}: its {name} features are not finite; expected a readable recording")
            _save(kept, features)
        found.append(features)
    return found


def _load(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing, or damaged
        return None


def _save(path: Path, features: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, features, allow_pickle=False)
