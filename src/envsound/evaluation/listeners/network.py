"""A listener: a small convolutional network on log-mel spectra that says what an environmental sound is.

Trained on real clips by `envsound.evaluation.listeners.training`, it answers three questions: what a codec's
reconstruction or a generated clip sounds like (accuracy), how far two sets of clips are apart (its embedding), and
how well a plain CNN classifies ESC-50 (the baseline).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import atomic_path, sha256_bytes
from envsound.base.tensors import read_tensors, tensor_bytes
from envsound.codec.training.losses import magnitude, mel_filters

LOWEST_RATE, HIGHEST_RATE = 8_000, 96_000  # Hz
WINDOW_SECONDS = 0.04  # s, of the shortest analysis window
LOG_FLOOR = 2e-4  # of full scale; quieter bands all sound alike
BATCH_SIZE = 32  # clips heard at once


@dataclass(frozen=True)
class ListenerConfig:
    """The shape of a listener. Every stage halves the resolution in time and in frequency."""

    n_mels: int = 64
    widths: tuple[int, ...] = (32, 48, 96, 192)  # channels of each stage
    embedding_dim: int = 128
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or self.embedding_dim < 1 or not 0 <= self.dropout < 1:
            raise InputError(f"listener shape {self}: expected widths and embedding_dim of 1 or more, dropout below 1")
        if self.n_mels < 1 or self.n_mels % self.stride:
            raise InputError(f"n_mels={self.n_mels}: expected a multiple of {self.stride}, 2 for each of the widths")

    @property
    def stride(self) -> int:
        """Frames, and bands, that become one."""
        return 2 ** len(self.widths)


def window_samples(sample_rate: int) -> int:
    """Return the analysis window, the power of two that lasts 40 to 80 ms; its quarter, 10 to 20 ms, is the hop."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InputError(f"sample_rate={sample_rate}: expected {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return 2 ** int(np.ceil(np.log2(WINDOW_SECONDS * sample_rate)))


def mel_spectra(clips: Sequence[np.ndarray], sample_rate: int, n_mels: int) -> list[Tensor]:
    """Return the mel magnitudes of each clip, float32 [n_mels, n_frames]; white noise has one level in all bands.

    Each clip is analysed by itself, so its spectrum never depends on the clips beside it; clips shorter than a window
    are padded with zeros. Raises InputError naming the clip when one is not float [n_samples], empty or not finite.
    """
    if len(clips) == 0:
        raise InputError("clips: there are none, expected at least one")
    n_fft = window_samples(sample_rate)
    filters = mel_filters(sample_rate, n_fft, n_mels)
    spectra = []
    for number, clip in enumerate(clips):
        samples = torch.from_numpy(_checked(clip, number))
        padded = F.pad(samples, (0, max(0, n_fft - len(samples))))
        spectra.append(filters @ magnitude(padded[None], n_fft)[0])
    return spectra


def _checked(clip: np.ndarray, number: int) -> np.ndarray:
    x = np.asarray(clip)
    if x.dtype.kind != "f" or x.ndim != 1 or x.size == 0:
        raise InputError(f"clip {number}: is {x.dtype} of shape {x.shape}, expected mono samples, float [n_samples]")
    x = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(x).all():
        raise InputError(f"clip {number}: {np.count_nonzero(~np.isfinite(x))} of {x.size} samples are NaN or infinite")
    return x


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016), the first of stride 2 in time and frequency."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.down = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)
        self.down_norm = nn.BatchNorm2d(n_out)
        self.refine = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.refine_norm = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False)  # of 2 x 2 means, as in ResNet-D (He et al. 2019)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """x: [batch, n_in, n_bands, n_frames]; valid: see `_kept`, of the n_frames / 2 that are returned."""
        h = _kept(F.relu(self.down_norm(self.down(x))), valid)
        h = self.refine_norm(self.refine(h)) + self.shortcut(F.avg_pool2d(x, 2))
        return _kept(F.relu(h), valid)


class ListenerNetwork(nn.Module):
    """Mel magnitudes in, an embedding and class scores out.

    Convolutions see the position of each band as a second input channel (after Koutini et al. 2019, frequency-aware
    CNNs), and the remaining bands stay apart until time is pooled by mean plus maximum (Kong et al. 2020, PANNs):
    where in the spectrum a sound lies tells what it is, when it comes does not. Frames beyond a clip's end are set to
    zero after every layer, so that padding a clip changes nothing.
    """

    def __init__(self, config: ListenerConfig, n_classes: int):
        super().__init__()
        self.config, self.n_classes = config, n_classes
        first, last = config.widths[0], config.widths[-1]
        self.register_buffer("band_mean", torch.zeros(config.n_mels, 1))
        self.register_buffer("band_sd", torch.ones(config.n_mels, 1))
        self.stem = nn.Conv2d(2, first, 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(first)
        self.blocks = nn.ModuleList(map(ResidualBlock, config.widths[:-1], config.widths[1:]))
        self.frames = nn.Linear(last * (config.n_mels // config.stride), 2 * config.embedding_dim)
        self.embedding = nn.Linear(2 * config.embedding_dim, config.embedding_dim)
        self.classes = nn.Linear(config.embedding_dim, n_classes)

    def set_statistics(self, spectra: Sequence[Tensor]) -> None:
        """Take mean and standard deviation of every band's log level over all frames of [n_mels, n_frames] each."""
        levels = _log_levels(torch.cat(list(spectra), dim=1).double())
        self.band_mean.copy_(levels.mean(1, keepdim=True))
        self.band_sd.copy_(levels.std(1, correction=0, keepdim=True).clamp(min=0.1))

    def normalise(self, spectra: Tensor) -> Tensor:
        """Turn mel magnitudes [batch, n_mels, n_frames] into log levels of mean 0, variance 1 over the training set."""
        return (_log_levels(spectra) - self.band_mean) / self.band_sd

    def forward(self, levels: Tensor, n_frames: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings [batch, embedding_dim] and class scores [batch, n_classes].

        levels: normalised [batch, n_mels, n_frames]; n_frames: each clip's own number of frames, int [batch] (None:
        all are whole).
        """
        levels, valid = self._padded(levels, n_frames)
        position = torch.linspace(-1, 1, levels.shape[1], device=levels.device)[:, None].expand_as(levels)
        x = _kept(torch.stack([levels, position], 1), valid)
        x = x.contiguous(memory_format=torch.channels_last)  # faster on CPUs and GPUs alike
        valid = _halved(valid)
        x = _kept(F.relu(self.stem_norm(self.stem(x))), valid)
        for block in self.blocks:
            valid = _halved(valid)
            x = block(x, valid)
        embedding = self._pool(x, valid)
        return embedding, self.classes(self._dropped(embedding))

    def _padded(self, levels: Tensor, n_frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Lengthen levels [batch, n_mels, n_frames] to whole strides; return them and which frames are valid."""
        longest = levels.shape[2]
        if n_frames is None and longest % self.config.stride == 0:
            return levels, None
        if n_frames is None:
            n_frames = torch.full((len(levels),), longest, device=levels.device)
        levels = F.pad(levels, (0, -longest % self.config.stride))
        valid = torch.arange(levels.shape[2], device=levels.device) < n_frames[:, None]
        return levels, valid[:, None, None].to(levels.dtype)

    def _pool(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Pool maps [batch, channels, n_bands, n_frames] over time; return embeddings [batch, embedding_dim]."""
        frames = self._dropped(x.flatten(1, 2).transpose(1, 2))  # [batch, n_frames, channels * n_bands]
        frames = F.relu(self.frames(frames)).float().transpose(1, 2)  # [batch, 2 * embedding_dim, n_frames]
        if valid is None:
            mean = frames.mean(2)
        else:
            frames = frames * valid[:, 0]
            mean = frames.sum(2) / valid[:, 0].sum(2)
        return F.relu(self.embedding(self._dropped(mean + frames.amax(2))))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)


def _log_levels(spectra: Tensor) -> Tensor:
    return torch.log(spectra + LOG_FLOOR)


def _kept(x: Tensor, valid: Tensor | None) -> Tensor:
    """Set frames of [batch, channels, n_bands, n_frames] to zero where valid, [batch, 1, 1, n_frames], is 0, not 1.

    None keeps all frames.
    """
    return x if valid is None else x * valid


def _halved(valid: Tensor | None) -> Tensor | None:
    """Halve the number of frames of [batch, 1, 1, n_frames]: one is valid when either of its two was."""
    return None if valid is None else F.max_pool2d(valid, (1, 2))


@torch.no_grad()
def hear(network: ListenerNetwork, spectra: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return embeddings [n, embedding_dim] and class scores [n, n_classes] of mel spectra, on the CPU, in float32.

    Spectra [n_mels, n_frames] of like length are heard together, padded to the longest.
    """
    network.eval()
    device = network.band_mean.device
    order = sorted(range(len(spectra)), key=lambda index: spectra[index].shape[1])
    embeddings = torch.empty(len(spectra), network.config.embedding_dim)
    scores = torch.empty(len(spectra), network.n_classes)
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        n_frames = torch.tensor([spectra[row].shape[1] for row in rows])
        batch = torch.stack([F.pad(spectra[row], (0, int(n_frames.max()) - spectra[row].shape[1])) for row in rows])
        embedding, score = network(network.normalise(batch.to(device)), n_frames.to(device))
        embeddings[rows], scores[rows] = embedding.float().cpu(), score.float().cpu()
    return embeddings, scores


class Listener:
    """A trained listener: says what clips sound like, and where they lie in its embedding.

    categories: the classes in index order; sample_rate: Hz, of every clip it hears; facts: how it was trained.
    Its weights have 16 bits, so that a stored listener answers exactly as the one that was stored.
    """

    def __init__(
        self, network: ListenerNetwork, categories: Sequence[str], sample_rate: int, facts: dict[str, Any] | None = None
    ):
        if len(categories) != network.n_classes or len(set(categories)) != len(categories):
            raise InputError(f"categories {list(categories)}: expected {network.n_classes} different names")
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())
        self.categories, self.sample_rate, self.facts = list(categories), sample_rate, dict(facts or {})

    def predict(self, clips: Sequence[np.ndarray], sample_rate: int) -> list[str]:
        """Return the most probable category of each clip, float [n_samples] at `sample_rate` Hz."""
        return [self.categories[best] for best in self.probabilities(clips, sample_rate).argmax(1)]

    def probabilities(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return the probability of each category, float32 [n_clips, n_classes] in the order of `categories`."""
        return self._hear(clips, sample_rate)[1].softmax(1).numpy()

    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return the activations before the class scores, float32 [n_clips, embedding_dim], none negative."""
        return self._hear(clips, sample_rate)[0].numpy()

    def _hear(self, clips: Sequence[np.ndarray], sample_rate: int) -> tuple[Tensor, Tensor]:
        if sample_rate != self.sample_rate:
            raise InputError(f"sample_rate={sample_rate}: trained at {self.sample_rate} Hz; resample the clips first")
        return hear(self.network, mel_spectra(clips, sample_rate, self.network.config.n_mels))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the listener's file, whether it was saved or not."""
        return sha256_bytes(self._content())

    def save(self, path: str | Path) -> None:
        """Write the listener as 16-bit safetensors with all it needs to be loaded, atomically."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self._content())

    def _content(self) -> bytes:
        header = {
            "config": asdict(self.network.config),
            "categories": self.categories,
            "sample_rate": self.sample_rate,
            "facts": self.facts,
        }
        weights = {
            name: value.half() if value.is_floating_point() else value
            for name, value in self.network.state_dict().items()
        }
        return tensor_bytes(weights, "listener", header)


def load_listener(path: str | Path, device: torch.device | str = "auto") -> Listener:
    """Load a listener written by `Listener.save`; it computes in float32.

    Raises InputError naming the file when it is missing, damaged or not a listener.
    """
    target = choose_device(str(device))
    try:
        weights, header = read_tensors(path, "listener")
        shape = header["config"] | {"widths": tuple(header["config"]["widths"])}
        network = ListenerNetwork(ListenerConfig(**shape), len(header["categories"]))
        network.load_state_dict(weights)
        return Listener(network.to(target), header["categories"], header["sample_rate"], header["facts"])
    except (OSError, SafetensorError) as error:
        raise InputError(f"listener {path}: cannot be read ({error}); expected a safetensors file") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"listener {path}: not a listener of this study ({error})") from None
