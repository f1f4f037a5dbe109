"""What a GPU does for tensors of fixed shapes, recorded once and then asked for in one call (a CUDA graph)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Recorded:
    """A function of tensors whose work on a GPU is recorded when this is made and replayed at every call.

    The function returns tensors, looks at no value of a tensor and draws from `generators` and torch's own generator
    alone; seeds that are set before a call hold for that call. Shapes, types and whatever else the function reads stay
    as they were at the recording. What a call returns is overwritten by the next one. Without a GPU the function is
    called as it is, on tensors that are kept and overwritten as a recording's are: one result, whichever way.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        example: Sequence[Tensor],
        generators: Sequence[torch.Generator] = (),
    ):
        """example: what the function takes; on a GPU it is called with it."""
        self.function, self.given = function, [one.clone() for one in example]
        self.graph = None
        if self.given[0].is_cuda:
            self._record(generators)

    def __call__(self, *given: Tensor) -> Sequence[Tensor]:
        """Return what the function returns for tensors of the example's shapes."""
        for kept, one in zip(self.given, given, strict=True):
            kept.copy_(one, non_blocking=True)
        if self.graph is None:
            return self.function(*self.given)
        self.graph.replay()
        return self.found

    def _record(self, generators: Sequence[torch.Generator]) -> None:
        self.graph, aside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self.function(*self.given)  # once before the recording: libraries choose kernels and take memory
        torch.cuda.current_stream().wait_stream(aside)
        for generator in generators:
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph):
            self.found = self.function(*self.given)
