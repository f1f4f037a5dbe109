"""aiSFX: clips as points, by a network that has learnt from libraries of sound effects and met none of our clips.

Ma and Lerch, "Representation Learning for the Automatic Indexing of Sound Effects Libraries", ISMIR 2022: nine
convolutional layers, 4.7 million weights, CC BY 4.0, inside the package aisfx 0.1.2. Its pins cannot be installed with
ours, so `make judge` puts it alone into `.judge`. Its checkpoint is read once, without running anything in it, and kept
as safetensors in the cache; no weight of it is part of the repository.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.serialization import safe_globals

from envsound.base import cache as store
from envsound.base.device import choose_device
from envsound.base.errors import InputError, NotHere
from envsound.base.files import sha256_bytes, sha256_file
from envsound.base.tensors import read_tensors, tensor_bytes, write_tensors

FOLDER = Path(".judge")  # of the package, see the Makefile
CACHE = store.FOLDER / "judges"
PACKAGE, CHECKPOINT = "aisfx", Path("aisfx") / "models" / "checkpoint.pth"
KIND, PREFIX = "aisfx", "embedding_net."
SCALAR = np._core.multiarray.scalar
ALLOWED = ((SCALAR, "numpy.core.multiarray.scalar"), SCALAR, np.dtype, np.dtypes.Int64DType)  # under its old name, too

SAMPLE_RATE = 44_100  # Hz
WINDOW, HOP = 2048, 1024  # samples, 46 and 23 ms
N_MELS = 96  # bands, 0 to 22,050 Hz
LOUDEST = 9.457798957824707  # highest level of any clip that the network has learnt from
SHORTEST = 100  # frames, 2.3 s, that the network has learnt from; a shorter clip is followed by silence


@dataclass(frozen=True)
class AisfxEmbedding:
    """The network behind the interface of `embeddings.Embedding`: 512 numbers a clip, none negative.

    network: maps levels, float32 [batch, n_frames, N_MELS], to the maximum over time of its activations, [batch, dim].
    The paper hears blocks of 100 frames; a clip heard whole has the maximum over its blocks.
    """

    network: nn.Module
    device: torch.device
    name: str = "aiSFX"
    sample_rate: int = SAMPLE_RATE

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the name and bytes of every weight."""
        return sha256_bytes(tensor_bytes(self.network.state_dict(), KIND, {}))

    @torch.no_grad()
    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return the network's activations, float32 [n_clips, dim]; clips are float [n_samples], heard one by one.

        Raises InputError for another rate, and naming the clip for one that is not finite mono samples.
        """
        if sample_rate != self.sample_rate:
            raise InputError(f"sample_rate={sample_rate}: {self.name} hears {self.sample_rate} Hz; resample first")
        heard = [levels(_checked(clip, number)).to(self.device)[None] for number, clip in enumerate(clips)]
        return torch.cat([self.network(one).float().cpu() for one in heard]).numpy()


def levels(clip: Tensor) -> Tensor:
    """Return what the network hears of a clip, float32 [n_samples]: [n_frames, N_MELS], 0 for silence, at most about 1.

    log10(1 + 10^4 p) / LOUDEST, p the weighted mean of the power |FFT|^2 in a band; a symmetric Hann window, frame k
    around sample k HOP. The paper's spectra, made with Essentia, come out to 2e-5 (compared on a clip of ESC-50).
    """
    n_frames = -(-len(clip) // HOP) + 1
    ends = WINDOW // 2, n_frames * HOP - len(clip)
    frames = F.pad(clip, ends).unfold(0, WINDOW, HOP)[:n_frames]
    power = torch.fft.rfft(frames * torch.hann_window(WINDOW, periodic=False)).abs().square()
    heard = torch.log10(1e4 * (power @ mel_weights().T) + 1) / LOUDEST
    return F.pad(heard, (0, 0, 0, max(0, SHORTEST - n_frames)))


@cache
def mel_weights() -> Tensor:
    """Return the weight of every bin in every band, float32 [N_MELS, WINDOW / 2 + 1]; a band's sum to 1.

    Triangles over HTK's mel scale, straight in mel and not in Hz (Essentia's weighting "warping").
    """
    mel = lambda hz: 1127.01048 * np.log1p(np.asarray(hz) / 700)  # noqa: E731
    edges, bins = np.linspace(0, mel(SAMPLE_RATE / 2), N_MELS + 2), mel(np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(min=0)
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


def load_aisfx(folder: str | Path = FOLDER, device: str = "auto", cache_dir: str | Path = CACHE) -> AisfxEmbedding:
    """Load the network that pip has put into `folder`; its weights are converted once and kept in `cache_dir`.

    Raises NotHere when the package is not there, InputError when its checkpoint is not what it should be.
    """
    file = Path(folder) / CHECKPOINT
    if not file.is_file():
        raise NotHere(f"{folder}: holds no package {PACKAGE}; `make judge` installs it")
    form = store.Format(".safetensors", _read_weights, lambda path, made: write_tensors(path, made, KIND, {}))
    weights = store.kept(cache_dir, [KIND, sha256_file(file)], lambda: convert(file), form)
    target = choose_device(device)
    with _importable(Path(folder)), torch.random.fork_rng(devices=[]):
        from aisfx.models.cnn2d import EmbeddingNet

        try:
            network = EmbeddingNet("max", 3, 1, len(weights["conv_block1.conv1.weight"]))
            network.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:
            raise InputError(f"{file}: not the weights of aiSFX ({_first(error)})") from None
    return AisfxEmbedding(network.to(target).eval().requires_grad_(False), target)


def convert(checkpoint: str | Path) -> dict[str, Tensor]:
    """Return the weights of the embedding from the package's checkpoint, of which nothing is run.

    Beside tensors it holds the numbers of classes as scalars of numpy, which are allowed for this reading alone.
    Raises InputError naming the file when it is damaged or something else.
    """
    try:
        with safe_globals(list(ALLOWED)):
            found = torch.load(checkpoint, map_location="cpu", weights_only=True)[0]
        weights = {name.removeprefix(PREFIX): found[name] for name in found if name.startswith(PREFIX)}
    except (OSError, EOFError, UnpicklingError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{checkpoint}: cannot be read ({_first(error)}); expected aiSFX's") from None
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{checkpoint}: holds no tensor {PREFIX}*; expected the checkpoint of aisfx 0.1.2")
    return weights


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path, KIND)[0]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from None


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """For the time of an import: the folder on the path, and no other copy of the package in its place."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == PACKAGE}
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.modules.update(kept)


def _checked(clip: np.ndarray, number: int) -> Tensor:
    x = np.asarray(clip)
    if x.dtype.kind != "f" or x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise InputError(f"clip {number}: {x.dtype} of shape {x.shape}; expected finite samples, float [n_samples]")
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _first(error: Exception) -> str:
    """Return the first line of an error's words, or its kind where it has none."""
    return str(error).partition("\n")[0] or type(error).__name__
