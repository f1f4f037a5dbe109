"""What is timed: the study's model and the usual implementation behind the same few tasks, and what bounds their times.

The usual implementation is soundstorm-pytorch 0.6.1; nothing else in the project uses it. It wants packages that its
2 x 512 model never calls (a semantic model, a codec, a trainer); stand-ins take their names.
"""

import contextlib
import io
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count

from envsound.base.errors import InputError
from envsound.base.recorded import Recorded
from envsound.codec import Codec
from envsound.codec.fourier import FourierCodec
from envsound.codec.stored import StoredCodec
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import GPU, DecodingConfig, decode
from envsound.systems.soundstorm.masking import draw_training_mask
from envsound.systems.soundstorm.objective import dense_losses, masked_loss

TRAIN, SAMPLE_ONE, SAMPLE_BATCH = "training step", "sample 1 clip", "sample a batch"
SAMPLE_LONG = "sample 30 s and decode"  # with the codec; the study's side alone
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COMPILED = "compiled "  # before a precision: with torch.compile; the study's side alone

SQUARES = {"cpu": (512, 1024, 2048, 4096), "other": (2048, 4096, 8192, 16384)}  # sizes of products, by device
SHORTEST = 0.05  # s that a product is repeated for, once it has been called as often as asked

UNUSED = {  # what the peer imports and never calls
    "torchaudio": (),
    "audiolm_pytorch": ("SoundStream", "HubertWithKmeans", "FairseqVQWav2Vec"),
    "spear_tts_pytorch": ("TextToSemantic",),
    "soundstorm_pytorch.trainer": ("SoundStormTrainer", "SoundStormTrainer_"),
}


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


class Implementation(Protocol):
    """`model` holds the weights, `network` is called once a pass.

    draws: what a training step draws from where it can be recorded for a GPU (see `base.recorded`), else None;
    stepwise: nothing is recorded, so that passes and operations can be counted.
    """

    name: str
    model: nn.Module
    network: nn.Module
    draws: torch.Generator | None
    stepwise: bool

    def loss(self, codes: Tensor) -> Tensor:
        """Return the training loss of codes int64 [batch, n_levels, n_frames], which are on the device."""
        ...

    def sample(self, batch: int, n_frames: int, precision: torch.dtype) -> Tensor:
        """Return sampled codes of `batch` clips."""
        ...


class Ours:
    """The study's model, on random weights: how long it takes does not depend on them."""

    name, stepwise = "envsound", False

    def __init__(self, work: Work, device: torch.device, compiled: bool = False):
        self.model = self.network = MaskedConformer(work.model).to(device)
        self.draws, self.steps, self.device = torch.Generator(device).manual_seed(0), work.steps_per_level, device
        if compiled:
            for block in self.model.blocks:
                block.compile(dynamic=True)

    def loss(self, codes: Tensor) -> Tensor:
        valid = torch.ones(len(codes), codes.shape[2], dtype=torch.bool, device=self.device)
        mask = draw_training_mask(codes, valid, self.model.mask_token, self.draws)
        if self.device.type == GPU:
            return dense_losses(self.model, mask, codes, None, None).sum() / mask.targets.sum()
        return masked_loss(self.model, mask, codes, valid, None).sum() / int(mask.targets.sum())

    def sample(self, batch: int, n_frames: int, precision: torch.dtype) -> Tensor:
        config = DecodingConfig(self.steps, precision=precision)
        watch = (lambda *_: None) if self.stepwise else None  # a decoding that is watched is not recorded
        return decode(self.model, [n_frames] * batch, list(range(batch)), config, on_step=watch)

    @cached_property
    def codec(self) -> Codec:
        """A codec of the published frame rate, which the peer lacks; its weights are random, as is what it decodes."""
        with torch.random.fork_rng():
            model = FourierCodec()
        return StoredCodec(model.to(self.device), model.generator, "")


class Peer:
    """The peer's model, of the same shape and dropout as ours, but for classes and the dropout of attention."""

    name, draws, stepwise = "soundstorm-pytorch 0.6.1", None, True

    def __init__(self, folder: str | Path, shape: ModelConfig, first_steps: int):
        """folder: where pip put the package and what it needs. Raises InputError when it is not there."""
        package = peer_package(folder)
        conformer = {"dim": shape.dim, "depth": shape.n_layers, "heads": shape.n_heads}
        conformer |= {"conv_kernel_size": shape.conv_kernel, "ff_mult": shape.ff_mult}
        conformer |= {"ff_dropout": shape.dropout, "conv_dropout": shape.dropout}  # on attention ours has it elsewhere
        self.network = package.ConformerWrapper(
            codebook_size=shape.codebook_size, num_quantizers=shape.n_levels, conformer=conformer
        )
        self.model = package.SoundStorm(self.network, steps=first_steps, schedule="cosine")

    def loss(self, codes: Tensor) -> Tensor:
        return self.model(codes.transpose(1, 2).clone())[0]  # the package writes into what it is given

    @torch.no_grad()
    def sample(self, batch: int, n_frames: int, precision: torch.dtype) -> Tensor:
        with torch.autocast(self.model.device.type, precision, enabled=precision != torch.float32):
            return self.model.generate(n_frames, batch_size=batch)


def peer_package(folder: str | Path) -> ModuleType:
    """Import the peer's package from `folder`. Raises InputError when it is not there."""
    if not Path(folder, "soundstorm_pytorch").is_dir():
        raise InputError(f"{folder}: holds no soundstorm_pytorch; `make bench` installs it")
    with _stand_ins(str(folder)):
        from soundstorm_pytorch import soundstorm

        return soundstorm


@contextlib.contextmanager
def _stand_ins(folder: str) -> Iterator[None]:
    """For the time of an import: the peer's folder on the path and empty modules for what it never calls."""
    kept = {name: sys.modules.get(name) for name in UNUSED}
    for name, classes in UNUSED.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update({cls: type(cls, (), {}) for cls in classes})
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Side:
    """One implementation on one device, with an optimizer, ready to do each task once."""

    def __init__(self, system: Implementation, work: Work, device: torch.device):
        self.system, self.work, self.device = system, work, device
        system.model.to(device)
        self.optimizer = torch.optim.Adam(system.model.parameters(), lr=1e-4, fused=True)
        draws = torch.Generator().manual_seed(0)
        shape = (work.batch, work.model.n_levels, work.n_frames)
        self.codes = torch.randint(work.model.codebook_size, shape, generator=draws).to(device)
        self.recorded: dict[torch.dtype, Recorded] = {}

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(value.numel() for value in self.system.model.parameters() if value.requires_grad)

    def run(self, task: str, precision: str, stepwise: bool = False) -> None:
        """Do a task once, to its end. precision: a key of PRECISIONS; stepwise: see `Implementation`."""
        self.system.stepwise = stepwise
        work, dtype = self.work, PRECISIONS[precision]
        tasks: dict[str, Callable[[], Any]] = {
            TRAIN: lambda: self._train(dtype),
            SAMPLE_ONE: lambda: self._sample(1, work.n_frames, dtype),
            SAMPLE_BATCH: lambda: self._sample(work.batch, work.n_frames, dtype),
            SAMPLE_LONG: lambda: self.system.codec.decode(self._sample(1, work.long_frames, dtype)),
        }
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # the peer's bars and warnings
            warnings.simplefilter("ignore")
            tasks[task]()
        synchronize(self.device)

    def passes(self, task: str) -> int:
        """Return how often a task calls the model."""
        calls: list[int] = []
        hook = self.system.network.register_forward_pre_hook(lambda *_: calls.append(1))
        try:
            self.run(task, "float32", stepwise=True)
        finally:
            hook.remove()
        return len(calls)

    def _train(self, dtype: torch.dtype) -> None:
        self.system.model.train()
        if self.device.type == GPU and self.system.draws and not self.system.stepwise:
            if dtype not in self.recorded:
                step = partial(self._gradients, dtype=dtype)
                self.recorded[dtype] = Recorded(step, [self.codes], [self.system.draws])
            gradients = self.recorded[dtype](self.codes)
            for weight, gradient in zip(self.system.model.parameters(), gradients, strict=True):
                weight.grad = gradient
        else:
            self._gradients(self.codes, dtype)
        self.optimizer.step()

    def _gradients(self, codes: Tensor, dtype: torch.dtype) -> list[Tensor | None]:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            loss = self.system.loss(codes)
        loss.backward()
        nn.utils.clip_grad_norm_(self.system.model.parameters(), 1.0)
        return [weight.grad for weight in self.system.model.parameters()]

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


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class Rate:
    """The fastest product of a precision: operations a second, and the shape [m, k] x [k, n] that reached it."""

    flops_per_second: float
    shape: tuple[int, int, int]


def count_flops(run: Callable[[], None]) -> int:
    """Return the floating-point operations (a product and a sum are two) of what `run` does in torch.

    Matrix products, attention and convolutions count. Two of torch's own formulas are replaced: the gradient of a
    grouped convolution is counted there as if it were not grouped, and attention on the CPU not at all.
    """
    aten = torch.ops.aten
    formulas = {
        aten.convolution_backward: _convolution_backward,
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
        ),
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    return counter.get_total_flops()


def _convolution_backward(grad_shape, x_shape, w_shape, _bias, _stride, _padding, _dilation, transposed, *others, **_):
    """Each of the gradients asked for, to the input and to the weights, takes as many operations as the way there."""
    asked = others[2]  # after output_padding and groups: of the input, the weights, the bias
    return conv_flop_count(x_shape, w_shape, grad_shape, transposed) * sum(bool(one) for one in asked[:2])


def product_shapes(work: Work, device: torch.device) -> list[tuple[int, int, int]]:
    """Return the shapes [m, k] x [k, n] that are timed: squares, and those of the model's own layers."""
    dim, model = work.model.dim, work.model
    layers = [(dim, dim * model.ff_mult), (dim * model.ff_mult, dim), (dim, 3 * dim), (dim, 4 * dim), (2 * dim, dim)]
    layers.append((dim, model.codebook_size))
    rows = (work.n_frames, work.batch * work.n_frames, work.long_frames)
    squares = SQUARES.get(device.type, SQUARES["other"])
    return [*((size,) * 3 for size in squares), *((m, k, n) for m in rows for k, n in dict.fromkeys(layers))]


def product_rate(device: torch.device, precision: str, shapes: Iterable[tuple[int, int, int]], n_runs: int = 5) -> Rate:
    """Return the highest rate of matrix products over all `shapes` and runs: what nothing here is faster than."""
    best = Rate(0.0, (0, 0, 0))
    for m, k, n in shapes:
        x, w = (torch.randn(size, k, device=device, dtype=PRECISIONS[precision]) for size in (m, n))
        seconds = _fastest(lambda x=x, w=w: torch.nn.functional.linear(x, w), device, n_runs)
        best = max(best, Rate(2 * m * k * n / seconds, (m, k, n)), key=lambda rate: rate.flops_per_second)
    return best


def _fastest(run: Callable[[], Any], device: torch.device, n_runs: int) -> float:
    """Return the shortest time (s) of a call, over at least `n_runs` calls and SHORTEST seconds, after one."""
    shortest, calls, began = math.inf, 0, time.perf_counter()
    while calls <= n_runs or time.perf_counter() - began < SHORTEST:
        started = time.perf_counter()
        run()
        synchronize(device)
        calls += 1
        if calls > 1:
            shortest = min(shortest, time.perf_counter() - started)
    return shortest
