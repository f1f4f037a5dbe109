"""Finds what would make a GPU wait: a value that is looked at, or a shape that depends on one."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LOOKING = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal", "is_nonzero"}


class NoLooking(TorchDispatchMode):
    """Within it an operation that needs a tensor's values on the CPU, or indexes by a mask or a list, fails."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        masked = name in ("index", "index_put_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in LOOKING or masked:
            raise AssertionError(f"{name} looks at values")
        return operation(*args, **(kwargs or {}))
