"""Makes `import torchaudio`, and so `import encodec`, work where torchaudio's native library does not load.

encodec imports torchaudio, which loads a compiled library first and gives up when that library was built
for another torch (a missing libc10_cuda, an undefined symbol, "different CUDA versions"). The rest of
torchaudio is plain torch, and encodec needs no more than that. So `install`, called by `import envsound`,
puts a finder before Python's own that answers for the one name "torchaudio": torchaudio is imported as
usual, and only if that fails is its module `torchaudio._extension`, which loads the library, replaced by a
stand-in that says "not compiled", a case torchaudio provides for. A torchaudio that loads is left as it is.
This module imports nothing heavy, and nothing else in the study touches torchaudio.
"""

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

LIBRARY_ERRORS = (ImportError, OSError, RuntimeError, AttributeError)  # raised by a library that does not fit
EXTENSION = "torchaudio._extension"

log = logging.getLogger(__name__)


class _Extension(ModuleType):
    """Stand-in for `torchaudio._extension`: no native part, whatever its name in this version, is there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("fail_if_no_"):
            return _unavailable
        if name.startswith("_IS_") and name.endswith("_AVAILABLE"):
            return False
        raise AttributeError(f"{self.__name__} has no {name!r}: the native library does not load here")

    def _load_lib(self, name: str) -> bool:
        return False  # torchaudio's own answer for a library that is not there

    def _check_cuda_version(self) -> None:
        return None


def _unavailable(function: Callable) -> Callable:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"torchaudio's {function.__name__} needs its native library, which does not load")

    return fail


class _Loader(SourceFileLoader):
    """Runs torchaudio's `__init__`; if its native library does not load, again with the stand-in."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except LIBRARY_ERRORS as error:
            log.info("torchaudio's native library does not load (%s); using its pure-torch part", error)
            for name in [name for name in sys.modules if name.startswith("torchaudio.")]:
                del sys.modules[name]
            sys.modules[EXTENSION] = module._extension = _Extension(EXTENSION)
            super().exec_module(module)


class _Finder:
    """Finds torchaudio, and nothing else, where Python would find it, and gives it the loader above."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "torchaudio":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """From now on, let `import torchaudio` succeed without its native library; may be called again."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def import_encodec() -> ModuleType:
    """Return the encodec package. Raises ImportError when encodec or torchaudio is not installed at all."""
    install()
    return importlib.import_module("encodec")
