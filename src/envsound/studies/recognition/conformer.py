"""The generative model as a recogniser: its layers, pooled over the time of whole clips, and a linear probe of them.

No class is ever told to the model. It has random weights, or it has learnt the generative task on the training clips of
one round of cross-validation alone: neither its test clips nor those it chooses on are read, and no label is. One such
training serves every recogniser that asks for the same.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from envsound.base.cache import Format, kept
from envsound.base.cache import key as cache_key
from envsound.base.device import choose_device, choose_precision
from envsound.base.errors import InputError
from envsound.codec import load_codec
from envsound.codec.codes import load_codes, stored_codec_hash
from envsound.studies.recognition.baselines import linear_probe
from envsound.studies.recognition.rounds import Clips, Fold, code_of
from envsound.systems.soundstorm import checkpoints
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.codebooks import codebooks_of, start_from_codebooks
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

CPU = torch.device("cpu")
STORE = Path("data") / "cache" / "pretraining"  # one file for each pretraining, named after all it depends on
STARTS = ("random", "environment")
NO_CLASS = ["any"]
PLAN = {"warmup_fraction": 0.2, "prompt_chance": 0.5}  # a classifier sees whole clips, a decoder none or a prompt
WATCHED_SHARE = 0.02  # of the clips: kept out of pretraining, whose loss on them is written down
LOWEST_VARIANCE = 1e-8  # where the gradient of a square root is still finite


@dataclass(frozen=True)
class ConformerSettings:
    """The model of a recogniser, without classes; all levels of codes go in.

    start: "random" weights, as the published study's public code has them, or "environment", the generative task of
    SoundStorm on the training clips of each round. Its defaults are short, for a CPU; nothing is chosen by the clips
    that are watched, and the last weights are kept.
    """

    name: str = "Conformer"
    start: str = "environment"  # random | environment
    codebook_init: bool = False  # random weights start from the codec's codebooks
    codec: str = "patches"  # that made the codes
    codec_weights: str = ""  # of encodec_24khz; "" = the released ones
    n_levels: int = 4
    codebook_size: int = 1024
    dim: int = 512
    n_layers: int = 2
    n_heads: int = 8
    dropout: float = 0.1  # inside the model
    pretraining_epochs: int = 2
    pretraining_batch_size: int = 8  # clips
    pretraining_lr: float = 1e-3  # highest, of the one-cycle schedule
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise InputError(f"start={self.start!r}: expected one of {', '.join(STARTS)}")
        self.shape()  # so that what is impossible is named at once
        self._plan(0)

    def shape(self) -> ModelConfig:
        """Return the shape of the model."""
        sizes = (self.n_levels, self.codebook_size, self.dim, self.n_layers, self.n_heads)
        return ModelConfig(*sizes, dropout=self.dropout)

    def model(self, train: Clips, seed: int) -> MaskedConformer:
        """Return the model, on the CPU, for a round whose training clips are `train`; trained now unless it is kept.

        Raises InputError when its codebooks are not those of the clips' codec.
        """
        if self.start == "random":
            return self._random(train, seed)
        form = Format(".safetensors", lambda file: checkpoints.load_checkpoint(file, CPU), _keep)
        with torch.random.fork_rng(devices=[]):  # a model draws weights before it is given others
            return kept(STORE, self._parts(train, seed), lambda: self._pretrained(train, seed), form).model.eval()

    def key(self, train: Clips, seed: int) -> str:
        """Return a hash: equal keys mean equal weights. Nothing is trained to find it, and no label is looked at."""
        return cache_key(*self._parts(train, seed))

    def settings(self) -> dict[str, Any]:
        """Return what determines the result beside data and code; see `rounds.Recogniser`."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "device")}

    def _parts(self, train: Clips, seed: int) -> list[Any]:
        codec = stored_codec_hash(train.codes_files[0]) if self.codebook_init else ""
        parts = [asdict(self.shape()), codec, seed, code_of("envsound.systems.soundstorm.training")]
        if self.start == "random":
            return parts
        codes = [file.stem for file in train.codes_files]  # made of the clip's sound and the codec, not of its label
        return [*parts, asdict(self._plan(seed)), WATCHED_SHARE, *codes]

    def _plan(self, seed: int, initial_checkpoint: str = "") -> TrainingConfig:
        own = {name: getattr(self, f"pretraining_{name}") for name in ("batch_size", "lr")}
        own |= {"num_epochs": self.pretraining_epochs, "precision": self.computed_in, "seed": seed}
        return TrainingConfig(initial_checkpoint=initial_checkpoint, **PLAN, **own)

    def _random(self, train: Clips, seed: int) -> MaskedConformer:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = MaskedConformer(self.shape())
        if self.codebook_init:
            codec = load_codec(self.codec, self.codec_weights, CPU)
            wanted = stored_codec_hash(train.codes_files[0])
            if codec.content_hash != wanted:
                raise InputError(f"codec={self.codec!r}: the clips have codes of another codec, {wanted}")
            start_from_codebooks(model, codebooks_of(codec), torch.Generator().manual_seed(seed))
        return model.eval()

    def _pretrained(self, train: Clips, seed: int) -> checkpoints.Checkpoint:
        """Learn the generative task in a folder named as what is kept, going on where a training was killed."""
        folder = STORE / self.key(train, seed)
        codec_hash, initial = stored_codec_hash(train.codes_files[0]), folder / "initial.safetensors"
        start = checkpoints.Checkpoint(self._random(train, seed), NO_CLASS, {"codec_hash": codec_hash})
        checkpoints.save_checkpoint(initial, start)
        learnt, watched = split_watched(train, seed)
        cuda = [self.place] if self.place.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # the trainer seeds torch's own generator
            plan = self._plan(seed, str(initial))
            Trainer(learnt, watched, self.shape(), plan, folder, self.place, codec_hash).fit()
        return checkpoints.load_checkpoint(folder / "checkpoints" / "last.safetensors", CPU, codec_hash)

    @property
    def place(self) -> torch.device:
        """Where the model is computed."""
        return choose_device(self.device)

    @property
    def computed_in(self) -> str:
        """The precision, which is part of what a result depends on: two precisions are two models."""
        return choose_precision(self.precision, self.place)

    def autocast(self) -> torch.autocast:
        """Return a context in which the model computes in that precision."""
        return torch.autocast(self.place.type, torch.bfloat16, enabled=self.computed_in == "bf16-mixed")


def _keep(file: Path, made: checkpoints.Checkpoint) -> None:
    """Keep a pretrained model and, beside it, its losses; what was needed to go on with the training goes."""
    folder = file.with_suffix("")
    checkpoints.save_checkpoint(file, made)
    shutil.copyfile(folder / "training.csv", file.with_suffix(".csv"))
    shutil.rmtree(folder)


def split_watched(train: Clips, seed: int) -> tuple[CodeSet, CodeSet]:
    """Return the codes to learn from and those whose loss is watched, drawn from the training clips; no labels.

    At least one clip is watched. Raises InputError when nothing is left to learn from.
    """
    n_watched = max(1, round(WATCHED_SHARE * len(train)))
    if n_watched >= len(train):
        raise InputError(f"clips: {len(train)} to train on leave none beside the one that is watched; expected more")
    order = np.random.default_rng([seed, len(train)]).permutation(len(train))
    parts = (np.sort(order[n_watched:]), np.sort(order[:n_watched]))
    codes = [[load_codes(file) for file in train.rows(part).codes_files] for part in parts]
    return tuple(CodeSet(part, np.zeros(len(part), np.int64), NO_CLASS) for part in codes)


@dataclass(frozen=True)
class ProbedConformer(ConformerSettings):
    """A frozen model read by a linear probe on mean and standard deviation over time of all its layers.

    The probe is `baselines.linear_probe`. What a model makes of a clip is computed once and kept.
    """

    kind: ClassVar[str] = "conformer_probe"
    name: str = "Conformer, linear probe"
    skip_repeats: bool = True  # leave out frames that repeat the one before in every level: digital silence
    refit: bool = True  # on training and validation fold together, once the strength is chosen

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`; `folder` stays empty."""

        def features(clips: Clips) -> np.ndarray:
            found = self.statistics(fold, seed, clips)
            return found.reshape(len(found), -1)

        return linear_probe(features, fold, self.refit)

    def statistics(self, fold: Fold, seed: int, clips: Clips) -> np.ndarray:
        """Return mean and standard deviation over time of every layer, float32 [n_clips, n_states, 2, dim].

        Each clip is computed by itself, so that no other clip changes how its numbers are rounded.
        """

        @cache
        def model() -> MaskedConformer:  # loaded, or trained, when the first clip asks for it
            return self.model(fold.train, seed).to(self.place).eval()

        def measure(_: Path, codes_file: Path) -> np.ndarray:
            (codes,) = load_clips([codes_file], self.skip_repeats)
            batch, known = torch.from_numpy(codes.astype(np.int64))[None].to(self.place), model()
            with torch.no_grad(), self.autocast():
                return pooled_statistics(layer_states(known, embed_codes(known, batch)))[0].cpu().numpy()

        depends_on = (self.key(fold.train, seed), self.skip_repeats, self.computed_in, code_of(__name__))
        return np.stack(clips.features(measure, "Conformer", *depends_on))


def load_clips(files: Sequence[Path], skip_repeats: bool) -> list[np.ndarray]:
    """Load the codes of clips, int16 [n_levels, n_frames] each; without repeated frames when asked for."""
    codes = [load_codes(file) for file in files]
    return [without_repeats(clip) for clip in codes] if skip_repeats else codes


def without_repeats(codes: np.ndarray) -> np.ndarray:
    """Return codes [n_levels, n_frames] without the frames that repeat the one before in every level."""
    is_new = np.concatenate([[True], (codes[:, 1:] != codes[:, :-1]).any(0)])
    return codes[:, is_new]


def embed_codes(model: MaskedConformer, codes: Tensor) -> Tensor:
    """Return the sum of the code embeddings, [batch, n_frames, dim]: codes int64 [batch, n_levels, n_frames]."""
    return torch.stack([embed(level) for embed, level in zip(model.embeddings, codes.unbind(1), strict=True)]).sum(0)


def layer_states(model: MaskedConformer, embedded: Tensor, valid: Tensor | None = None) -> list[Tensor]:
    """Return the states of every layer, n_layers + 1 of [batch, n_frames, dim]; the first is `embedded` itself.

    valid: bool [batch, n_frames], False on padded frames, whose states mean nothing; None: all are valid.
    Raises InputError for a model with classes: it may have learnt to expect the answer among its inputs.
    """
    if model.config.n_classes:
        raise InputError(
            f"model: trained to be told one of {model.config.n_classes} classes; expected one that was told none"
        )
    return [embedded, *model.through_blocks(embedded, valid)]


def weighted_statistics(states: Tensor, weights: Tensor) -> Tensor:
    """Return mean and standard deviation over time, [batch, 2, dim], of states [batch, n_frames, dim].

    weights: [batch, n_frames], rows sum to 1; a frame of weight 0 counts for nothing, whatever its state holds.
    """
    weights = weights[..., None]
    states = states.masked_fill(weights == 0, 0.0)
    mean = (weights * states).sum(1)  # no matrix product, which mixed precision would round
    variance = (weights * (states - mean[:, None]).square()).sum(1)
    return torch.stack([mean, variance.clamp(min=LOWEST_VARIANCE).sqrt()], 1)


def pooled_statistics(layers: Sequence[Tensor]) -> Tensor:
    """Return mean and standard deviation over time of every layer, float32 [batch, n_states, 2, dim]."""
    weights = layers[0].float().new_full(layers[0].shape[:2], 1 / layers[0].shape[1])
    return torch.stack([weighted_statistics(states.float(), weights) for states in layers], 1)
