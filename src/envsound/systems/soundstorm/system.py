"""SoundStorm behind the interface of `systems.base`: a codec, its codes, the masked model and its decoder."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, multiprocessing

from envsound.base.device import describe_device
from envsound.base.errors import InputError
from envsound.base.files import read_csv, sha256_file, write_csv
from envsound.codec import Codec
from envsound.codec.codes import encode_recordings, stored_codec_hash
from envsound.codec.counting import DRAWS, CodeDraws
from envsound.codec.systems import through_codec
from envsound.data.audio import read_clip
from envsound.data.copies import plan_copies
from envsound.data.finding import check_taught
from envsound.data.folds import recorded, training_sets
from envsound.data.recordings import Recordings
from envsound.run.contract import read_table
from envsound.run.identity import digest, module_hash
from envsound.run.record import read_settings
from envsound.systems.base import Request, Trained, preset_codec
from envsound.systems.soundstorm.batches import CodeSet, load_code_set
from envsound.systems.soundstorm.checkpoints import Checkpoint, chosen_checkpoint, load_checkpoint
from envsound.systems.soundstorm.codebooks import Codebooks, codebooks_of
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.counting import beside_counting
from envsound.systems.soundstorm.decoding import DecodingConfig, decode
from envsound.systems.soundstorm.editing import Editor
from envsound.systems.soundstorm.told import Described, encoder_of, mean_tokens, text_of, texts_of
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

if TYPE_CHECKING:
    from envsound.systems.language.text import TextEncoder

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class SoundStorm:
    """A trained masked model with its codec; clips are decoded `batch_size` at a time.

    encoder: of the texts that it is told in place of a class, if any; a request without text is then one by the name of
    its class.
    """

    checkpoint: Checkpoint
    codec: Codec
    decoding: DecodingConfig
    checkpoint_sha256: str = ""
    batch_size: int = 8
    encoder: "TextEncoder | None" = None

    name = "soundstorm"

    def __post_init__(self) -> None:
        model, codec = self.checkpoint.model.config, self.codec
        if (model.n_levels, model.codebook_size) != (codec.n_levels, codec.codebook_size):
            raise InputError(
                f"checkpoint: {model.n_levels} levels of {model.codebook_size} codes, but codec {codec.name} has "
                f"{codec.n_levels} of {codec.codebook_size}"
            )

    @property
    def sample_rate(self) -> int:
        return self.codec.sample_rate

    @property
    def categories(self) -> list[str]:
        return self.checkpoint.categories if self._told_class or self.encoder else []

    @property
    def conditions(self) -> frozenset[str]:
        return frozenset({"audio"} | ({"class"} if self.categories else set()) | ({"text"} if self.encoder else set()))

    @property
    def content_hash(self) -> str:
        settings = {key: str(value) for key, value in asdict(self.decoding).items()}
        encoder = [self.encoder.content_hash] if self.encoder else []
        return digest([str(settings), self.checkpoint_sha256, self.codec.content_hash, *encoder, self._code()])

    def _code(self) -> str:
        return _code()

    @property
    def _told_class(self) -> bool:
        return self.checkpoint.model.config.n_classes > 0

    def words(self, request: Request) -> str:
        """Return the text of a request as the model can follow it; "" where it is told none.

        Raises InputError for a text of which the encoder knows no word.
        """
        if request.text:
            return self.encoder.understood(request.text)
        return "" if self._told_class else request.category.replace("_", " ")

    def told(self, text: str) -> tuple[str, str]:
        """Return a text as the model can follow it, and what to say of it; see `sampling.ReadsText`."""
        from envsound.systems.language.text import told

        return told(self.encoder, text)

    @property
    def window(self) -> int:
        """The longest clip that the model was trained on, in frames; 0 where its checkpoint does not say."""
        return self.checkpoint.facts.get("window", 0)

    def n_frames(self, request: Request) -> int:
        """Return the number of frames of a request's clip."""
        known = self.codec.n_frames(len(self._recording(request))) if request.like else 0
        return known if request.share else known + self._n_new(request)

    def generate(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Return an iterator over the clips, float32 [n_samples], of the requests."""
        return map(self.sound, self.codes(requests))

    def sound(self, codes: Tensor) -> np.ndarray:
        """Return the clip of codes [n_levels, n_frames], float32 [n_samples]."""
        return self.codec.decode(codes[None])[0].cpu().numpy().astype(np.float32)

    def codes(self, requests: Sequence[Request]) -> Iterator[Tensor]:
        """Yield codes, int64 [n_levels, n_frames], for each request; clips that follow one another share a batch.

        What goes on from a recording or varies one, and what is longer than the model's `window`, is made by itself,
        window by window.
        """
        for at_once, some in groupby(requests, self._fits):
            alike = list(some)
            for start in range(0, len(alike), self.batch_size):
                batch = alike[start : start + self.batch_size]
                yield from self._decode(batch) if at_once else map(self._edit, batch)

    def describe(self, request: Request) -> dict[str, Any]:
        """Return frames, seconds, every setting of decoding, and the hashes of codec and checkpoint."""
        config, n_frames = self.decoding, self.n_frames(request)
        settings = {field.name: getattr(config, field.name) for field in fields(config)}
        settings["steps_per_level"] = " ".join(map(str, config.steps_per_level))
        settings["precision"] = str(config.precision).removeprefix("torch.")
        settings["guidance_end"] = config.guidance_scale if config.guidance_end is None else config.guidance_end
        settings |= {"like": Path(request.like).name, "share": request.share} if request.like else {}
        settings |= {"text": self.words(request)} if self.encoder else {}
        hashes = {"codec_hash": self.codec.content_hash, "checkpoint_sha256": self.checkpoint_sha256}
        return {"n_frames": n_frames, "seconds": n_frames / self.codec.frame_rate} | settings | hashes

    def reconstruct(self, clip: np.ndarray) -> np.ndarray:
        """Return a clip, float32 [n_samples], through the codec: the ceiling of any model of its codes."""
        return through_codec(clip, self.codec)

    def controls(self, run: Path) -> Mapping[str, Callable[[Any, np.random.Generator], np.ndarray]]:
        """Return clips of codes drawn by counting in the run's training folds: see `codec.counting`."""
        draws = CodeDraws(_learnt(run), self.codec)
        return {name: partial(draws.clip, name) for name in DRAWS}

    def _n_new(self, request: Request) -> int:
        return max(1, self.codec.n_frames(round(request.seconds * self.codec.sample_rate)))

    def _recording(self, request: Request) -> np.ndarray:
        return read_clip(request.like, self.codec.sample_rate)

    def _fits(self, request: Request) -> bool:
        return not request.like and (not self.window or self._n_new(request) <= self.window)

    def _decode(self, batch: Sequence[Request]) -> Iterator[Tensor]:
        """Yield codes, int64 [n_levels, n_frames], for each request of a batch."""
        lengths, seeds = [self._n_new(request) for request in batch], [request.seed for request in batch]
        codes = decode(self.checkpoint.model, lengths, seeds, self.decoding, self._given(batch))
        for item, length in zip(codes, lengths, strict=True):
            yield item[:, :length]

    def _edit(self, request: Request) -> Tensor:
        """Return codes, int64 [n_levels, n_frames], of a request that is not decoded in one go."""
        editor, known = self._editor(request), None
        if request.like:
            known = self.codec.encode(torch.from_numpy(self._recording(request))[None])[0].cpu()
        window = self.window or self.n_frames(request) + 1
        if request.share:
            parts = enumerate(known.split(window, 1))
            return torch.cat([editor.variation(part, request.share, request.seed + n) for n, part in parts], 1)
        return editor.long_clip(self.n_frames(request), request.seed, window, max(1, window // 2), start=known)

    def _editor(self, request: Request) -> Editor:
        given = self._given([request])
        return Editor(self.checkpoint.model, self.decoding, None if given is None else given[0])

    def _given(self, batch: Sequence[Request]) -> list[int] | Tensor | None:
        """Return what the model is told of some requests: classes, or the mean of their texts' tokens, or nothing."""
        if self.encoder is None:
            return [self.categories.index(request.category) for request in batch] if self.categories else None
        words = [self.words(request) for request in batch]
        described = torch.tensor([bool(one) for one in words])
        return mean_tokens(*self.encoder.encode(words)) * described[:, None]


class SoundStormRecipe:
    """How SoundStorm is made: clips are encoded, the masked model learns their codes, a decoder draws new ones."""

    about = """A bidirectional Conformer sees a clip's codes with some of them hidden and learns to guess those. Its
embeddings, one for each level, are added up frame by frame; a hidden code has an embedding of its own, the mask
token. A clip may be shorter than its neighbours in the batch: a frame mask keeps the rest out of attention,
convolution and loss.

For each clip a level $q$ and a share of its frames are drawn (cosine schedule); level $q$ is hidden there and every
finer level is hidden altogether. The loss is the cross-entropy of the hidden codes of level $q$ and of nothing else.

Decoding starts with every code hidden. At each pass the model guesses all hidden codes of one level at once, and the
best guesses stay; the number still hidden follows a cosine. Level 0 takes several passes, the finer ones follow."""

    def codec(self, settings: Mapping[str, Any]) -> Codec:
        """Return the codec of a preset, on the device it names."""
        return preset_codec(settings)

    def prepare(self, recordings: Recordings, settings: Mapping[str, Any], run: Path) -> pd.DataFrame:
        """Return codes.csv: every clip, and every augmented copy of a training clip, through the codec.

        Of a model that is told texts (`text_of`) captions.csv of the recordings is left in the run.

        Codes are kept in data/cache/codes. Raises InputError for an unknown change or folds that are not there.
        """
        if text_of(settings):
            from envsound.systems.language.captions import write_captions

            write_captions(run, recordings)
        names = ("fold", "train_folds", "validation_fold", "augment_copies", "augment", "augment_seed")
        copies = plan_copies(recordings, **{name: settings[name] for name in names})
        return encode_recordings(recordings, self.codec(settings), copies=copies)

    def train(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Trained:
        """Train on the run's codes; see `Trainer`. With `every_level`, counting.csv sets the model beside counting."""
        trainer = self.trainer(settings, run, device)
        history = trainer.fit()
        if trainer.config.every_level and not trainer.texts:
            sides = trainer.train_set, trainer.validation_set
            table = beside_counting(trainer.used_model, *sides, trainer.config.seed, trainer.codebooks)
            write_csv(Path(run) / "counting.csv", table)
        return Trained(history, training_facts(trainer))

    def trainer(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Trainer:
        """Return the trainer of a run; with several devices it has trained to the end."""
        train, watched, codec_hash = self.code_sets(settings, run)
        config = TrainingConfig(**{field.name: settings[field.name] for field in fields(TrainingConfig)})
        texts, told = texts_of(settings, run)
        described = tuple(Described(mean_tokens(*tokens), choices) for *tokens, choices in texts) or None
        shape = model_config(train, settings, described[0].vectors.shape[1] if described else 0)
        plan = {"train": train, "validation": watched, "model_config": shape, "texts": described, "told": told}
        plan |= {"config": config, "run_dir": run, "device": device, "codec_hash": codec_hash}
        plan["codebooks"] = self._codebooks(settings, codec_hash) if config.asks_code_vectors else None
        return trainer_on(settings["devices"], **plan)

    def _codebooks(self, settings: Mapping[str, Any], codec_hash: str) -> Codebooks:
        codec = self.codec(settings)
        if codec.content_hash != codec_hash:
            raise InputError(f"codec={settings['codec']!r}: the run has codes of another codec, {codec_hash}")
        return codebooks_of(codec)

    def code_sets(self, settings: Mapping[str, Any], run: Path) -> tuple[CodeSet, CodeSet, str]:
        """Return the codes to learn and those to watch, and the hash of the codec that made them."""
        table = read_csv(Path(run) / "codes.csv")
        codec_hash = stored_codec_hash(table["codes_file"].iloc[0])
        categories = sorted(table["category"].unique())
        folds = settings["fold"], settings["train_folds"], settings["validation_fold"]
        if settings["class_conditional"]:
            check_taught(training_sets(table, *folds)[0], table)
        train, watched = (load_code_set(side, categories, codec_hash) for side in training_sets(table, *folds))
        return train, watched, codec_hash

    def load(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> SoundStorm:
        """Return a run's model, the best by its validation fold or else the last, or the file `checkpoint`."""
        codec = self.codec(settings)
        file = settings["checkpoint"] or chosen_checkpoint(run)
        checkpoint = load_checkpoint(file, device, codec.content_hash)
        decoding = decoding_config(settings, device)
        made = checkpoint, codec, decoding, sha256_file(file), settings["sample_batch_size"]
        return SoundStorm(*made, encoder_of(checkpoint.facts))


def trainer_on(n_devices: int, **plan: Any) -> Trainer:
    """Return `Trainer(**plan)`; for several devices one that has been trained to the end, by one process each.

    The processes, on several GPUs or (to test it) on the CPU, share out every batch and average their gradients, so the
    result is that of one process but for rounding and dropout. Raises InputError when there are fewer GPUs than asked.
    """
    n_gpus = torch.cuda.device_count()
    if n_devices < 1 or (plan["device"].type == "cuda" and n_devices > n_gpus):
        raise InputError(f"devices={n_devices}: {n_gpus} GPUs here, expected 1 or more and no more")
    if n_devices > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        multiprocessing.spawn(_train, (n_devices, port, plan), nprocs=n_devices)
    return Trainer(**plan)


def _train(rank: int, n_processes: int, port: int, plan: dict[str, Any]) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    Trainer(**plan, n_processes=n_processes).fit()
    torch.distributed.destroy_process_group()


def _learnt(run: Path) -> pd.DataFrame:
    """Return the rows of a run's recordings that its model learnt from, without altered copies."""
    settings = read_settings(run)
    folds = settings.fold, list(settings.train_folds), settings.validation_fold
    return recorded(training_sets(read_table(run, "recordings"), *folds)[0])


def model_config(train: CodeSet, settings: Mapping[str, Any], text_dim: int = 0) -> ModelConfig:
    """Return the shape of the model that fits some codes, from a preset's values, told texts of a width or none."""
    names = ("dim", "n_layers", "n_heads", "conv_kernel", "ff_mult", "dropout", "codebook_size")
    n_classes = len(train.categories) if settings["class_conditional"] else 0
    shape = {name: settings[name] for name in names}
    shape |= {"tied": settings["tied_embeddings"], "text_dim": text_dim}
    return ModelConfig(train.codes[0].shape[0], n_classes=n_classes, **shape)


def decoding_config(settings: Mapping[str, Any], device: torch.device) -> DecodingConfig:
    """Return how codes are drawn, from a preset's values.

    sample_precision: "auto" (bfloat16 on CUDA, else float32), "float32" or "bfloat16"; guidance_end: 0 keeps
    guidance_scale throughout. Raises InputError for values that cannot be.
    """
    precision = settings["sample_precision"]
    precision = ("bfloat16" if device.type == "cuda" else "float32") if precision == "auto" else precision
    if precision not in PRECISIONS:
        raise InputError(f"sample_precision={precision!r}: expected auto, float32 or bfloat16")
    given = {field.name: settings[field.name] for field in fields(DecodingConfig) if field.name in settings}
    given |= {"steps_per_level": tuple(given["steps_per_level"]), "guidance_end": given["guidance_end"] or None}
    return DecodingConfig(**given | {"precision": PRECISIONS[precision]})


def training_facts(trainer: Trainer) -> dict[str, Any]:
    """Return what the record of a training keeps: sizes, steps, the last losses (nat a code), time and device."""
    progress, history = trainer.progress, pd.DataFrame(trainer.progress.history)
    whole = history[history["level"].astype(str) == "all"]
    last = whole[whole["epoch"] == whole["epoch"].max()].set_index("split")["loss"]
    seconds = float(history.drop_duplicates("epoch")["seconds"].sum())
    return {
        "n_parameters": trainer.model.n_parameters(),
        "n_train_clips": len(trainer.train_set),
        "n_train_copies": trainer.train_set.n_copies,
        "n_validation_clips": len(trainer.validation_set),
        "validation_fold": trainer.config.validation_fold,
        "epochs": progress.epoch,
        "used_epoch": progress.best_epoch or progress.epoch,
        "steps": progress.step,
        "precision": trainer.precision,
        "codec_hash": trainer.codec_hash,
        "last_train_loss": float(last["train"]),
        "last_validation_loss": float(last["validation"]),
        "unigram_loss": trainer.baseline["all"],
        "training_seconds": seconds,
        "clips_per_second": len(trainer.train_set) * progress.epoch / seconds,
        "device_used": describe_device(trainer.fabric.device),
    }


@cache
def _code() -> str:
    return module_hash(__name__)
