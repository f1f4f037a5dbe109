"""Where a classifying Conformer's weights come from: chance, a model of speech, or the generative task on its clips.

The generative task is learnt on the training clips of one round of cross-validation alone: neither its test clips nor
those it chooses on are read, and no label is. One such training serves every recogniser that asks for the same.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, sha256_file
from envsound.codec import load_codec
from envsound.codec.codes import load_codes, stored_codec_hash
from envsound.evaluation.spaces.pretrained import NotHere
from envsound.run.identity import digest, module_hash
from envsound.studies.recognition.rounds import Clips
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from envsound.systems.soundstorm.checkpoints import codebooks_of, start_from_codebooks
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.training import Trainer
from envsound.systems.soundstorm.training import TrainingConfig

CPU = torch.device("cpu")
STORE = Path("data") / "cache" / "pretraining"  # one file for each pretraining, named after all it depends on
NO_CLASS = ["any"]


@cache
def code_of(*modules: str) -> str:
    """Return a hash of modules of the package and all they use; code does not change while it runs."""
    return digest(module_hash(f"envsound.{name}") for name in modules)


class Start(Protocol):
    """Gives the model that a classifier starts from. It is not told a class."""

    def model(self, train: Clips, seed: int) -> MaskedConformer:
        """Return the model, on the CPU, for a round whose training clips are `train`. Labels are not looked at."""

    def key(self, train: Clips, seed: int) -> str:
        """Return a short hash: equal keys mean equal weights. Nothing is trained to find it."""

    def settings(self) -> dict[str, Any]:
        """Return everything that determines the weights beside data and code."""


@dataclass(frozen=True)
class RandomStart:
    """Random weights, as the published study's public code has them.

    codebook_codec: the codec (as in `codecs.load_codec`) whose codebooks the embeddings start from; "" = random ones.
    """

    shape: ModelConfig
    codebook_codec: str = ""
    codec_weights: str = ""

    def model(self, train: Clips, seed: int) -> MaskedConformer:
        """Return a model drawn from `seed`. Raises InputError when its codebooks are not those of the clips' codec."""
        _check_no_classes(self.shape.n_classes, "shape")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = MaskedConformer(self.shape)
        if self.codebook_codec:
            codec = load_codec(self.codebook_codec, self.codec_weights, CPU)
            wanted = stored_codec_hash(train.codes_files[0])
            if codec.content_hash != wanted:
                raise InputError(f"codec={self.codebook_codec!r}: the clips have codes of another codec, {wanted}")
            start_from_codebooks(model, codebooks_of(codec), torch.Generator().manual_seed(seed))
        return model.eval()

    def key(self, train: Clips, seed: int) -> str:
        codec = stored_codec_hash(train.codes_files[0]) if self.codebook_codec else ""
        return digest([repr(self.settings()), codec, str(seed), code_of("conformer", "codebook_init")])

    def settings(self) -> dict[str, Any]:
        return {"start": "random", "shape": asdict(self.shape), "codebook_codec": self.codebook_codec}


@dataclass(frozen=True)
class CheckpointStart:
    """The weights of a checkpoint, such as the speech model that notebook 12 trains on no class."""

    path: str
    name: str = "speech"

    def model(self, train: Clips, seed: int) -> MaskedConformer:
        """Return the checkpoint's model.

        Raises NotHere when the file is missing, and InputError when it has another codec's codes or knows classes.
        """
        self._check_there()
        model = _loaded(self.path, train)
        _check_no_classes(model.config.n_classes, f"checkpoint {self.path}")
        return model

    def key(self, train: Clips, seed: int) -> str:
        self._check_there()
        return digest([repr(self.settings())])

    def settings(self) -> dict[str, Any]:
        if not Path(self.path).is_file():
            return {"start": self.name, "checkpoint_sha256": ""}
        shape = asdict(load_checkpoint(self.path, CPU).model.config)
        return {"start": self.name, "shape": shape, "checkpoint_sha256": sha256_file(self.path)}

    def _check_there(self) -> None:
        if not Path(self.path).is_file():
            raise NotHere(f"checkpoint {self.path!r}: no such file; expected a model that notebook 12 has trained")


@dataclass(frozen=True)
class Pretraining:
    """The generative task as a start; the defaults are short, for a CPU.

    A `watched_share` of the training clips, drawn from the seed, is kept out of it and its loss is watched; nothing is
    chosen by it, and the last weights are kept.
    """

    num_epochs: int = 2
    batch_size: int = 8  # clips
    lr: float = 1e-3  # highest, of the one-cycle schedule
    warmup_fraction: float = 0.2
    prompt_chance: float = 0.5  # a classifier sees whole clips, a decoder none or a prompt
    ema_decay: float = 0.0
    watched_share: float = 0.02
    precision: str = "auto"

    def training(self, seed: int, initial_checkpoint: str) -> TrainingConfig:
        """Return the settings of `training.Trainer`."""
        values = asdict(self)
        del values["watched_share"]
        return TrainingConfig(**values, seed=seed, initial_checkpoint=initial_checkpoint)


@dataclass(frozen=True)
class PretrainedStart:
    """The generative task of SoundStorm on a round's training clips, from `first`'s weights.

    store: folder of finished models, `<key>.safetensors`, each with its `<key>.csv` of losses. A training that was
    killed goes on where it was.
    """

    first: Start
    plan: Pretraining
    store: Path = STORE
    device: torch.device = CPU

    def model(self, train: Clips, seed: int) -> MaskedConformer:
        """Return the model, trained now unless the store has it."""
        path = self.store / f"{self.key(train, seed)}.safetensors"
        if not path.exists():
            self._train(train, seed, path)
        return _loaded(path, train)

    def key(self, train: Clips, seed: int) -> str:
        codes = [file.stem for file in train.codes_files]  # made of the clip's sound and the codec, not of its label
        return digest([repr(asdict(self.plan)), self.first.key(train, seed), str(seed), code_of("training"), *codes])

    def settings(self) -> dict[str, Any]:
        return {"start": "environment", "first": self.first.settings(), "pretraining": asdict(self.plan)}

    def _train(self, train: Clips, seed: int, path: Path) -> None:
        folder = path.with_suffix("")
        codec_hash = stored_codec_hash(train.codes_files[0])
        model = self.first.model(train, seed)
        initial = folder / "initial.safetensors"
        save_checkpoint(initial, Checkpoint(model, NO_CLASS, {"codec_hash": codec_hash}))
        learnt, watched = split_watched(train, self.plan.watched_share, seed)
        config = self.plan.training(seed, str(initial))
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # the trainer seeds torch's own generator
            Trainer(learnt, watched, model.config, config, folder, self.device, codec_hash).fit()
        _copy(folder / "training.csv", path.with_suffix(".csv"))
        _copy(folder / "checkpoints" / "last.safetensors", path)
        shutil.rmtree(folder)


def split_watched(train: Clips, share: float, seed: int) -> tuple[CodeSet, CodeSet]:
    """Return the codes to learn from and those whose loss is watched, drawn from the training clips; no labels.

    At least one clip is watched. Raises InputError when nothing is left to learn from.
    """
    n_watched = max(1, round(share * len(train)))
    if not 0 <= share < 1 or n_watched >= len(train):
        raise InputError(f"watched_share={share}: leaves none of {len(train)} training clips to learn from")
    order = np.random.default_rng([seed, len(train)]).permutation(len(train))
    learnt, watched = np.sort(order[n_watched:]), np.sort(order[:n_watched])
    return unlabelled(train.rows(learnt).codes_files), unlabelled(train.rows(watched).codes_files)


def unlabelled(codes_files: Sequence[Path]) -> CodeSet:
    """Load codes as clips of one class, for a model that is told none."""
    codes = [load_codes(path) for path in codes_files]
    return CodeSet(codes, np.zeros(len(codes), np.int64), NO_CLASS)


def _loaded(path: str | Path, train: Clips) -> MaskedConformer:
    with torch.random.fork_rng(devices=[]):  # a model draws weights before it is given others
        return load_checkpoint(path, CPU, stored_codec_hash(train.codes_files[0])).model.eval()


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _check_no_classes(n_classes: int, what: str) -> None:
    if n_classes:
        raise InputError(f"{what}: a model that is told one of {n_classes} classes; expected n_classes=0, no label")
