"""What bounds a time: the operations of a task over the fastest matrix product of the machine; and where time goes."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count

from envsound.studies.speed.sides import PRECISIONS, Work

SQUARES = {"cpu": (512, 1024, 2048, 4096), "other": (2048, 4096, 8192, 16384)}
SHORTEST = 0.05  # s that a product is repeated for, once it has been called as often as asked

# Operators by what they are for; the first group with a fitting part of the name counts.
GROUPS = {
    "optimizer and clipping": ("optimizer", "_foreach", "_fused_adam", "vector_norm", "clip_grad"),
    "compiled kernels": ("triton_", "torch-compiled", "compiledfx", "graph_"),
    "attention": ("attention",),
    "convolution": ("conv",),
    "matrix products": ("mm", "linear", "matmul"),
    "normalisation": ("layer_norm",),
    "softmax and loss": ("softmax", "nll_loss", "cross_entropy", "logsumexp"),
    "drawing and ordering": ("sort", "topk", "cumsum", "rand", "uniform", "exponential", "multinomial", "argmax"),
    "dropout": ("dropout", "bernoulli"),
    "looking up": ("embedding", "index", "gather", "scatter", "where", "nonzero", "masked"),
    "copying and casting": ("copy", "cat", "stack", "clone", "fill", "zero", "empty", "memcpy", "memset"),
}
OTHER = "element by element, and others"


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
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    return counter.get_total_flops()


def _convolution_backward(grad_shape, x_shape, w_shape, _bias, _stride, _padding, _dilation, transposed, *others, **_):
    """Each of the gradients asked for, to the input and to the weights, takes as many operations as the way there."""
    asked = others[2]  # after output_padding and groups: of the input, the weights, the bias
    return conv_flop_count(x_shape, w_shape, grad_shape, transposed) * sum(bool(one) for one in asked[:2])


def _attention(query_shape, key_shape, value_shape, *_, **__) -> int:
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def _attention_backward(grad_shape, query_shape, key_shape, value_shape, *_, **__) -> int:
    return sdpa_backward_flop_count(grad_shape, query_shape, key_shape, value_shape)


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
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        calls += 1
        if calls > 1:
            shortest = min(shortest, time.perf_counter() - started)
    return shortest


def profile_groups(run: Callable[[], None], device: torch.device) -> tuple[list[dict[str, Any]], float]:
    """Return where the time of `run` goes, and that time in all (s).

    The rows are group, share of self time and number of calls, largest share first. The time is that of operators on
    the CPU, and of their kernels on a GPU. One call before is not counted.
    """
    run()
    gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as record:
        run()
    times: dict[str, list[float]] = {}
    for event in record.key_averages():
        own = event.self_device_time_total if gpu else event.self_cpu_time_total  # microseconds
        if own <= 0 or event.device_type != DeviceType.CPU:
            continue  # a kernel's time is already that of the operator which started it
        entry = times.setdefault(group_of(event.key), [0.0, 0])
        entry[0], entry[1] = entry[0] + own, entry[1] + event.count
    total = sum(own for own, _ in times.values())
    rows = [{"group": name, "share": own / total, "calls": int(calls)} for name, (own, calls) in times.items()]
    return sorted(rows, key=lambda row: -row["share"]), total / 1e6


def group_of(operator: str) -> str:
    """Return the group of GROUPS that an operator's name belongs to."""
    name = operator.removeprefix("aten::").lower()
    return next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), OTHER)
