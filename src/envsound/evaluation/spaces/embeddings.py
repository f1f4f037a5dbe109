"""Clips as points: embeddings behind one interface, one learnt by the study on real clips and one not learnt at all.

Distances (`spaces.distances`) and nearest neighbours (`memorisation`) are taken between these points. Networks trained
elsewhere are in `spaces.pretrained`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import soxr
import torch
from scipy.signal.windows import hann
from sklearn.decomposition import PCA
from tqdm.auto import tqdm

from envsound.base import cache
from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes
from envsound.evaluation.listeners.network import LOG_FLOOR, mel_spectra, window_samples
from envsound.evaluation.sides import Source
from envsound.metrics.acoustic import checked_clip
from envsound.run.identity import module_hash

CACHE = cache.FOLDER / "embeddings"
BATCH_SIZE = 32  # clips in memory at once
MODULATION_EDGES_HZ = (0.5, 1, 2, 4, 8, 16)
N_MELS = 64
N_MODULATED = 8  # groups of mel bands whose modulation is measured
MODULATION_PADDED_S = 4.0  # so that even a short clip has points in the lowest band of modulation
MAX_COMPONENTS = 32
CLIPS_PER_COMPONENT = 10  # reference clips for each principal component that is kept
CLIP_COLUMNS = ["clip", "category", "fold"]


class Embedding(Protocol):
    """What turns clips into points.

    `content_hash` identifies what was learnt, so that a network that chose a model is not asked to judge it;
    `sample_rate` is the rate in Hz that clips must have, 0 for any.
    """

    name: str
    content_hash: str
    sample_rate: int

    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return a point for each clip, float [n_clips, dim]; clips are float [n_samples] at `sample_rate` Hz."""
        ...


@dataclass(frozen=True)
class NotRun:
    """An embedding that cannot be computed here, and why; tables keep a row for it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Embedded:
    """The points of one side of a comparison.

    vectors: float64 [n_clips, dim]; clips: a row for each of them (CLIP_COLUMNS; category "" and fold 0 when unknown);
    problems: why a clip could not be read, by its name: such clips have no point.
    """

    vectors: np.ndarray
    clips: pd.DataFrame
    problems: dict[str, str] = field(default_factory=dict)

    def of_class(self, category: str) -> np.ndarray:
        """Return the points of one category, float64 [n, dim]; "" means all."""
        return self.vectors[(self.clips["category"] == category).to_numpy()] if category else self.vectors


class StatisticsEmbedding:
    """Statistics of the log-mel spectrum; nothing in it is learnt. See `spectrum_statistics`."""

    name, sample_rate = "statistics", 0
    content_hash = sha256_bytes(f"statistics {N_MELS}".encode())

    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return `spectrum_statistics` of each clip, float64 [n_clips, 168], at any rate that it allows."""
        return np.stack([spectrum_statistics(clip, sample_rate) for clip in clips])


class KeptEmbedding:
    """An embedding that keeps its points in a folder, behind the same interface; see `cache.kept_all`.

    A point of another network, code, library, kind of device, rate or clip is another one; equal clips share one
    whatever theirs are called. Points that are asked for together are computed together: their last digits may depend
    on that.
    """

    def __init__(self, embedding: Embedding, folder: str | Path = CACHE):
        self.embedding, self.folder = embedding, Path(folder)
        self.name, self.content_hash = embedding.name, embedding.content_hash
        self.sample_rate = embedding.sample_rate
        device = getattr(embedding, "device", torch.device("cpu")).type
        code = module_hash(type(embedding).__module__)
        self.depends_on = [self.content_hash, code, cache.libraries("numpy", "torch", "transformers"), device]

    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return a point for each clip, float [n_clips, dim]; clips are float [n_samples] at `sample_rate` Hz."""

        def make(places: list[int]) -> Iterator[np.ndarray]:
            return iter(self.embedding.embed([clips[place] for place in places], sample_rate))

        parts: list[list[Any]] = [[cache.clip_key(clip), int(sample_rate), *self.depends_on] for clip in clips]
        return np.stack(cache.kept_all(self.folder, parts, make, cache.ARRAY))


class Reduced:
    """An embedding projected on principal components of reference clips, its dimensions standardised if asked for.

    A covariance of many dimensions cannot be estimated from few clips, so no more components are kept than a tenth of
    the reference clips, and at least two. What no reference clip does differently from the others is lost; fit on
    clips that are on neither side of the comparison, such as the real clips of the training folds.

    Standardise what has units of several kinds, not a network's activations: one that hardly ever stirs over the
    reference clips would count as much as any other, and drown them all where it stirs for a new clip.
    """

    def __init__(self, embedding: Embedding, reference: np.ndarray, standardised: bool = True):
        """reference: points of `embedding`, [n_clips, dim]. Raises InputError for fewer than three."""
        n_clips, dim = reference.shape
        if n_clips < 3:
            raise InputError(f"{n_clips} reference clips: expected at least 3")
        self.embedding, self.sample_rate, self.content_hash = embedding, embedding.sample_rate, embedding.content_hash
        self.n_components = min(MAX_COMPONENTS, dim, n_clips - 1, max(2, n_clips // CLIPS_PER_COMPONENT))
        self.name = f"{embedding.name}, {self.n_components} components"
        self.mean, spread = reference.mean(axis=0), reference.std(axis=0)
        varies = spread > 1e-9 * np.abs(self.mean).max()  # constants become 0
        self.scale = np.where(varies, spread if standardised else 1.0, np.inf)
        self.pca = PCA(self.n_components, svd_solver="full").fit((reference - self.mean) / self.scale)

    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return the components of each clip, float64 [n_clips, n_components], the one of largest variance first."""
        return self.pca.transform((self.embedding.embed(clips, sample_rate) - self.mean) / self.scale)


class SourceClips(Sequence[np.ndarray]):
    """The clips of one side, each read when it is asked for and checked: never all in memory at once.

    They are read at `sample_rate` Hz, the rate that both sides of a comparison share, and then brought to `heard_at`
    Hz (0: not), so that no side keeps frequencies that another cannot have.
    """

    def __init__(self, sources: Sequence[Source], sample_rate: int, heard_at: int = 0):
        self.sources, self.sample_rate, self.heard_at = list(sources), sample_rate, heard_at or sample_rate
        self.problems: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, place: int) -> np.ndarray:
        """Return one clip, float32 [n_samples]. Raises InputError naming it when it cannot be used."""
        source = self.sources[place]
        clip = np.asarray(source.load(self.sample_rate), dtype=np.float32)
        if self.heard_at != self.sample_rate:
            clip = soxr.resample(clip, self.sample_rate, self.heard_at, quality="HQ")
        return checked_clip(clip, source.name).astype(np.float32)

    def readable(self, words: str) -> Iterator[tuple[list[Source], list[np.ndarray]]]:
        """Yield the clips that can be read with their sources, some at a time; why another cannot is in `problems`.

        words: what is done to the clips, for the progress bar.
        """
        with tqdm(total=len(self), desc=words, unit="clip", leave=False) as bar:
            for start in range(0, len(self), BATCH_SIZE):
                known, batch = [], []
                for place in range(start, min(start + BATCH_SIZE, len(self))):
                    try:
                        batch.append(self[place])
                        known.append(self.sources[place])
                    except InputError as error:
                        self.problems[self.sources[place].name] = str(error)
                    bar.update()
                if batch:
                    yield known, batch


def spectrum_statistics(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return mean and sd over time of 64 log-mel levels, and the depth of their modulation, float64 [2 * 64 + 40].

    Levels are natural logarithms of `listener.mel_spectra`. The depth, in nepers, is the root of the mean square that
    the levels of 8 groups of neighbouring bands have in 5 octaves of modulation, 0.5 to 16 Hz (group by group). A clip
    of T seconds does not resolve modulations below 1 / T Hz. Raises InputError as `mel_spectra` does.
    """
    (spectrum,) = mel_spectra([clip], sample_rate, N_MELS)
    levels = np.log(spectrum.numpy().astype(np.float64) + LOG_FLOOR)  # [N_MELS, n_frames]
    groups = levels.reshape(N_MODULATED, -1, levels.shape[1]).mean(axis=1)
    frame_rate = sample_rate / (window_samples(sample_rate) // 4)
    return np.concatenate([levels.mean(axis=1), levels.std(axis=1), modulation_depths(groups, frame_rate).ravel()])


def modulation_depths(levels: np.ndarray, frame_rate: float) -> np.ndarray:
    """Return the root mean square of levels [n_bands, n_frames] in each modulation octave: [n_bands, 5].

    The octaves are those of MODULATION_EDGES_HZ; each band's mean is removed and a Hann window applied, whose loss of
    energy is made good. frame_rate: frames a second.
    """
    window = hann(levels.shape[1], sym=False)
    wave = (levels - levels.mean(axis=1, keepdims=True)) * window
    n = max(levels.shape[1], round(MODULATION_PADDED_S * frame_rate))
    power = 2 * np.abs(np.fft.rfft(wave, n)) ** 2 / (n * np.sum(window**2))
    octave = np.digitize(np.fft.rfftfreq(n, 1 / frame_rate), MODULATION_EDGES_HZ) - 1
    octaves = range(len(MODULATION_EDGES_HZ) - 1)
    return np.sqrt(np.stack([power[:, octave == number].sum(axis=1) for number in octaves], axis=1))


def embed_clips(sources: Sequence[Source], embedding: Embedding, sample_rate: int, side: str = "clips") -> Embedded:
    """Return the points of all clips of a side, read at `sample_rate` Hz (see `SourceClips`), in order.

    A clip that cannot be read is named in `problems` and left out. Raises InputError when none is left.
    """
    clips, rows, vectors = SourceClips(sources, sample_rate, embedding.sample_rate), [], []
    for known, batch in clips.readable(f"{embedding.name}: {side}"):
        rows += [(source.name, source.category, source.fold) for source in known]
        vectors.append(np.asarray(embedding.embed(batch, clips.heard_at), dtype=np.float64))
    if not rows:
        first = next(iter(clips.problems.values()), "there are none")
        raise InputError(f"{side}: no clip can be read ({first}); expected at least one")
    return Embedded(np.concatenate(vectors), pd.DataFrame(rows, columns=CLIP_COLUMNS), clips.problems)
