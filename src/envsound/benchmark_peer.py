"""The usual implementation, soundstorm-pytorch 0.6.1, for side-by-side timing; nothing else in the study uses it.

It wants packages that its 2 x 512 model never calls (a semantic model, a codec, a trainer); stand-ins take their names.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from envsound.errors import InputError

UNUSED = {
    "torchaudio": (),
    "audiolm_pytorch": ("SoundStream", "HubertWithKmeans", "FairseqVQWav2Vec"),
    "spear_tts_pytorch": ("TextToSemantic",),
    "soundstorm_pytorch.trainer": ("SoundStormTrainer", "SoundStormTrainer_"),
}


class Peer:
    """The peer's 2 x 512 model behind two methods: a training loss and sampling of whole clips."""

    name = "soundstorm-pytorch 0.6.1"

    def __init__(self, folder: str | Path, dim: int, depth: int, heads: int, kernel: int, first_steps: int):
        """folder: where pip put the package and what it needs. Raises InputError when it is not there."""
        if not Path(folder, "soundstorm_pytorch").is_dir():
            raise InputError(f"{folder}: holds no soundstorm_pytorch; `make bench` installs it")
        with _stand_ins(folder):
            package = importlib.import_module("soundstorm_pytorch.soundstorm")
        shape = {"dim": dim, "depth": depth, "heads": heads, "conv_kernel_size": kernel}
        net = package.ConformerWrapper(codebook_size=1024, num_quantizers=8, conformer=shape)
        self.model = package.SoundStorm(net, steps=first_steps, schedule="cosine")

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(value.numel() for value in self.model.parameters() if value.requires_grad)

    def loss(self, codes: Tensor) -> Tensor:
        """Return the training loss of codes int64 [batch, n_levels, n_frames]."""
        return self.model(codes.transpose(1, 2))[0]

    @torch.no_grad()
    def sample(self, batch: int, n_frames: int) -> Tensor:
        """Return sampled codes of `batch` clips."""
        return self.model.generate(n_frames, batch_size=batch)


class _stand_ins:
    """For the time of an import: the peer's folder on the path and empty modules for what it never calls."""

    def __init__(self, folder: str | Path):
        self.folder = str(folder)

    def __enter__(self) -> None:
        self.kept = {name: sys.modules.get(name) for name in UNUSED}
        sys.path.insert(0, self.folder)
        for name, classes in UNUSED.items():
            module = ModuleType(name)
            for cls in classes:
                setattr(module, cls, type(cls, (), {}))
            sys.modules[name] = module

    def __exit__(self, *_: object) -> None:
        sys.path.remove(self.folder)
        for name, module in self.kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
