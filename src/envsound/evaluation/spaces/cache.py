"""Points of clips, computed once: each is kept in a file that is named after all that it depends on."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from envsound.base.files import atomic_path, sha256_bytes
from envsound.evaluation.spaces.embeddings import Embedding
from envsound.run.identity import module_hash
from envsound.run.provenance import versions

CACHE = Path("data/cache/embeddings")
LIBRARIES = ", ".join(f"{name} {versions()[name]}" for name in ("numpy", "torch", "transformers"))


class KeptEmbedding:
    """An embedding that keeps its points in a folder, behind the same interface (`embeddings.Embedding`).

    A point of another network, code, library, kind of device, rate or clip has another name, so that nothing has to be
    thrown away when something changes; equal clips share a file whatever theirs are called. A file that cannot be
    read is written anew. Points that are asked for together are computed together: their last digits may depend on
    that.
    """

    def __init__(self, embedding: Embedding, folder: str | Path = CACHE):
        self.embedding, self.folder = embedding, Path(folder)
        self.name, self.content_hash = embedding.name, embedding.content_hash
        self.sample_rate = embedding.sample_rate
        self.depends_on = [self.content_hash, _code(type(embedding).__module__), LIBRARIES, _device_kind(embedding)]

    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return a point for each clip, float [n_clips, dim]; clips are float [n_samples] at `sample_rate` Hz."""
        files = [self.folder / f"{self.key(clip, sample_rate)}.npy" for clip in clips]
        points = {file: read_point(file) for file in files}
        missing = {file: clip for file, clip in zip(files, clips, strict=True) if points[file] is None}
        if missing:
            made = self.embedding.embed(list(missing.values()), sample_rate)
            for file, point in zip(missing, made, strict=True):
                points[file] = point
                with atomic_path(file) as temporary:
                    np.save(temporary, point)
        return np.stack([points[file] for file in files])

    def key(self, clip: np.ndarray, sample_rate: int) -> str:
        """Return 64 hexadecimal digits that change with anything a clip's point depends on."""
        content = sha256_bytes(np.asarray(clip, dtype=np.float32).tobytes())
        return sha256_bytes(json.dumps([content, int(sample_rate), *self.depends_on]).encode())


def _device_kind(embedding: Embedding) -> str:
    """Return where an embedding computes, such as "cuda": its `device` where it has one, else the processor."""
    return getattr(embedding, "device", torch.device("cpu")).type


@cache
def _code(module: str) -> str:
    return module_hash(module)


def read_point(file: Path) -> np.ndarray | None:
    """Return a point, float [dim], None when the file is missing or damaged."""
    try:
        point = np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return point if point.ndim == 1 and point.size else None
