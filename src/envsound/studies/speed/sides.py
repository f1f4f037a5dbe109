"""What `make bench` times: the study's model and the usual implementation behind the same few tasks."""

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from envsound.base.errors import InputError
from envsound.codec import Codec, load_codec
from envsound.studies.speed.peer import Peer
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig, decode
from envsound.systems.soundstorm.masking import draw_training_mask
from envsound.systems.soundstorm.objective import masked_loss

TRAIN, SAMPLE_ONE, SAMPLE_BATCH = "training step", "sample 1 clip", "sample a batch"
SAMPLE_LONG = "sample 30 s and decode"  # with the codec; the study's side alone
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COMPILED = "compiled "  # before a precision: with torch.compile; the study's side alone


@dataclass(frozen=True)
class Work:
    """How much is done in one run of a task; the defaults are the benchmark's: 5 s at 75 frames/s, 2 x 512."""

    n_frames: int = 375
    batch: int = 8
    first_steps: int = 12  # passes at level 0; one at each finer level
    long_frames: int = 2250  # of SAMPLE_LONG
    model: ModelConfig = field(default_factory=ModelConfig)

    @property
    def steps_per_level(self) -> tuple[int, ...]:
        """Passes of the model for each level."""
        return (self.first_steps, *[1] * (self.model.n_levels - 1))


class System(Protocol):
    """An implementation: `model` holds the weights, `network` is called once a pass."""

    name: str
    model: nn.Module
    network: nn.Module

    def loss(self, codes: Tensor) -> Tensor:
        """Return the training loss of codes int64 [batch, n_levels, n_frames], which are on the CPU."""
        ...

    def sample(self, batch: int, n_frames: int, precision: torch.dtype) -> Tensor:
        """Return sampled codes of `batch` clips."""
        ...


class Ours:
    """The study's model, on random weights: how long it takes does not depend on them."""

    name = "envsound"

    def __init__(self, work: Work, device: torch.device, compiled: bool = False):
        self.model = self.network = MaskedConformer(work.model).to(device)
        self.draws, self.steps, self.device = torch.Generator().manual_seed(0), work.steps_per_level, device
        if compiled:
            for block in self.model.blocks:
                block.compile(dynamic=True)

    def loss(self, codes: Tensor) -> Tensor:
        valid = torch.ones(len(codes), codes.shape[2], dtype=torch.bool)
        mask = draw_training_mask(codes, valid, self.model.mask_token, self.draws)
        n_masked, place = int(mask.targets.sum()), self.device
        return masked_loss(self.model, mask.to(place), codes.to(place), valid.to(place), None).sum() / n_masked

    def sample(self, batch: int, n_frames: int, precision: torch.dtype) -> Tensor:
        config = DecodingConfig(self.steps, precision=precision)
        return decode(self.model, [n_frames] * batch, list(range(batch)), config)

    @cached_property
    def codec(self) -> Codec:
        """The codec that the study ships."""
        return load_codec("bundled", device=self.device)


class Side:
    """One implementation on one device, with an optimizer, ready to do each task once."""

    def __init__(self, system: System, work: Work, device: torch.device):
        self.system, self.work, self.device = system, work, device
        system.model.to(device)
        self.optimizer = torch.optim.Adam(system.model.parameters(), lr=1e-4)
        draws = torch.Generator().manual_seed(0)
        shape = (work.batch, work.model.n_levels, work.n_frames)
        self.codes = torch.randint(work.model.codebook_size, shape, generator=draws)

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(value.numel() for value in self.system.model.parameters() if value.requires_grad)

    def run(self, task: str, precision: str) -> None:
        """Do a task once, to its end. precision: a key of PRECISIONS."""
        work, dtype = self.work, PRECISIONS[precision]
        tasks: dict[str, Callable[[], Any]] = {
            TRAIN: lambda: self._train(dtype),
            SAMPLE_ONE: lambda: self._sample(1, work.n_frames, dtype),
            SAMPLE_BATCH: lambda: self._sample(work.batch, work.n_frames, dtype),
            SAMPLE_LONG: lambda: self.system.codec.decode(self._sample(1, work.long_frames, dtype)),
        }
        with quiet():
            tasks[task]()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def passes(self, task: str) -> int:
        """Return how often a task calls the model."""
        calls: list[int] = []
        hook = self.system.network.register_forward_pre_hook(lambda *_: calls.append(1))
        try:
            self.run(task, "float32")
        finally:
            hook.remove()
        return len(calls)

    def _train(self, dtype: torch.dtype) -> None:
        self.system.model.train()
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            loss = self.system.loss(self.codes)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.system.model.parameters(), 1.0)
        self.optimizer.step()

    def _sample(self, batch: int, n_frames: int, dtype: torch.dtype) -> Tensor:
        self.system.model.eval()
        return self.system.sample(batch, n_frames, dtype)


def make_side(name: str, work: Work, device: torch.device, peer_folder: str = "") -> Side:
    """Return the side called "ours", "compiled" (ours, by torch.compile) or "peer".

    peer_folder: where the peer was installed. Raises InputError for another name, or when the peer is not there.
    """
    if name == "peer":
        return Side(Peer(peer_folder, work.model, work.first_steps), work, device)
    if name not in ("ours", "compiled"):
        raise InputError(f"side={name!r}: expected ours, compiled or peer")
    return Side(Ours(work, device, compiled=name == "compiled"), work, device)


def warm_up(name: str, task: str, precision: str, work: Work, device: torch.device, peer_folder: str = "") -> None:
    """Do a task once with a tiny model, so that the code it loads is there before memory is watched."""
    model = replace(work.model, dim=8 * work.model.n_heads, n_layers=1)
    tiny = replace(work, n_frames=32, batch=1, long_frames=32, model=model)
    make_side(name, tiny, device, peer_folder).run(task, precision)


@contextlib.contextmanager
def quiet():
    """Keep the peer's progress bars and warnings off the screen."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
