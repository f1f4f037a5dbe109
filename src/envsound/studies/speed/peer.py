"""The usual implementation, soundstorm-pytorch 0.6.1, for side-by-side timing; nothing else in the study uses it.

It wants packages that its 2 x 512 model never calls (a semantic model, a codec, a trainer); stand-ins take their names.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.systems.soundstorm.conformer import ModelConfig

UNUSED = {
    "torchaudio": (),
    "audiolm_pytorch": ("SoundStream", "HubertWithKmeans", "FairseqVQWav2Vec"),
    "spear_tts_pytorch": ("TextToSemantic",),
    "soundstorm_pytorch.trainer": ("SoundStormTrainer", "SoundStormTrainer_"),
}


class Peer:
    """The peer's model behind two methods: a training loss and sampling of whole clips."""

    name = "soundstorm-pytorch 0.6.1"

    def __init__(self, folder: str | Path, shape: ModelConfig, first_steps: int):
        """folder: where pip put the package and what it needs; shape: as of ours, dropout and classes apart.

        Raises InputError when the package is not there.
        """
        package = peer_package(folder)
        conformer = {"dim": shape.dim, "depth": shape.n_layers, "heads": shape.n_heads}
        conformer |= {"conv_kernel_size": shape.conv_kernel, "ff_mult": shape.ff_mult}
        self.network = package.ConformerWrapper(
            codebook_size=shape.codebook_size, num_quantizers=shape.n_levels, conformer=conformer
        )
        self.model = package.SoundStorm(self.network, steps=first_steps, schedule="cosine")

    def loss(self, codes: Tensor) -> Tensor:
        """Return the training loss of codes int64 [batch, n_levels, n_frames], which are on the CPU."""
        mine = codes.transpose(1, 2).clone()  # the package writes into what it is given
        return self.model(mine.to(self.model.device))[0]

    @torch.no_grad()
    def sample(self, batch: int, n_frames: int, precision: torch.dtype) -> Tensor:
        """Return sampled codes of `batch` clips."""
        with torch.autocast(self.model.device.type, precision, enabled=precision != torch.float32):
            return self.model.generate(n_frames, batch_size=batch)


def peer_package(folder: str | Path) -> ModuleType:
    """Import the peer's package from `folder`. Raises InputError when it is not there."""
    if not Path(folder, "soundstorm_pytorch").is_dir():
        raise InputError(f"{folder}: holds no soundstorm_pytorch; `make bench` installs it")
    with _stand_ins(folder):
        return importlib.import_module("soundstorm_pytorch.soundstorm")


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
