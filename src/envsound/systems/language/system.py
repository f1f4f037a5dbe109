"""The language model behind the interface of `systems.base`: SoundStorm's codec and codes, another model and order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from envsound.base.files import sha256_file
from envsound.codec import Codec
from envsound.data.recordings import Recordings
from envsound.run.identity import module_hash
from envsound.systems.base import Request, Trained, preset_codec, read_options
from envsound.systems.language.decoding import Writer, WritingConfig, write
from envsound.systems.language.training import LanguagePlan, LanguageTrainer, Texts
from envsound.systems.language.transformer import LanguageConfig, Text, load_language
from envsound.systems.soundstorm.checkpoints import chosen_checkpoint
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.system import SoundStorm, SoundStormRecipe, decoding_config, training_facts
from envsound.systems.soundstorm.told import encoder_of, texts_of

MASKED = SoundStormRecipe()  # whose codec, codes and folds are the language model's, too


@dataclass(frozen=True)
class LanguageOptions:
    """What a preset's `options` tell a language model beside its own keys; see `LanguageConfig` and `LanguagePlan`.

    text: the encoder of what it is told in words (see `systems.language.text`); "": it is told none.
    """

    pattern: str = "delay"
    text: str = ""
    optimizer: str = ""
    schedule: str = ""
    step_every: int = 4000
    ema_every: int = 1


@dataclass(frozen=True)
class Language(SoundStorm):
    """A trained language model with its codec; clips are written `batch_size` at a time."""

    name = "language"

    def _code(self) -> str:
        return _code()

    def describe(self, request: Request) -> dict[str, Any]:
        """Return frames, seconds, order, every setting of drawing, the text as followed, and the hashes of both."""
        n_frames, model = self.n_frames(request), self.checkpoint.model.config
        facts = {"n_frames": n_frames, "seconds": n_frames / self.codec.frame_rate, "system": self.name}
        facts |= {"pattern": model.pattern}
        facts |= {field.name: getattr(self.decoding, field.name) for field in fields(WritingConfig)}
        facts["precision"] = str(self.decoding.precision).removeprefix("torch.")
        facts |= {"like": Path(request.like).name, "share": request.share} if request.like else {}
        facts |= {"text": self.words(request)} if self.encoder else {}
        return facts | {"codec_hash": self.codec.content_hash, "checkpoint_sha256": self.checkpoint_sha256}

    def _decode(self, batch: Sequence[Request]) -> Iterator[Tensor]:
        """Yield codes, int64 [n_levels, n_frames], for each request of a batch."""
        lengths, seeds = [self._n_new(request) for request in batch], [request.seed for request in batch]
        told = [self._class(request) for request in batch] if self._told_class else None
        codes = write(self.checkpoint.model, lengths, seeds, self.decoding, told, text=self._text(batch))
        for item, length in zip(codes, lengths, strict=True):
            yield item[:, :length]

    def _editor(self, request: Request) -> Writer:
        category = self._class(request) if self._told_class else None
        return Writer(self.checkpoint.model, self.decoding, category, self._text([request]))

    def _class(self, request: Request) -> int:
        return self.categories.index(request.category) if request.category else self.checkpoint.model.no_class

    def _text(self, batch: Sequence[Request]) -> Text | None:
        """Return what requests are described by, on the model's device; None for a model that is told no text."""
        if self.encoder is None:
            return None
        words, device = [self.words(request) for request in batch], next(self.checkpoint.model.parameters()).device
        vectors, mask = self.encoder.encode(words)
        described = torch.tensor([bool(one) for one in words])
        return Text(vectors.to(device), (mask & described[:, None]).to(device))


class LanguageRecipe:
    """How the language model is made: SoundStorm's codes, written one after the other instead of guessed at once."""

    about = """A decoder-only transformer, MusicGen's, reads a clip's codes from the first to the last and says at each
step which ones come next. Embeddings, one for each level, are added up, and each level has a head of its own. In the
order `delay` level $k$ of a frame is written $k$ steps after level 0, so that a level sees the coarser ones of its
frame, and a clip of $T$ frames takes $T + K - 1$ steps of up to $K$ codes; `parallel`, `flattened` and `coarse-first`
are other orders of the same codes.

The loss is the cross-entropy of every code, given all that was written before. It is no mean over hidden codes as the
masked model's, so the two losses must not be compared; both stand beside the cost of code frequencies.

A clip is written step by step: each code is drawn by its probability, restricted by `top_p`. Keys and values of earlier
steps are kept, so a step costs one pass of a single column; guidance takes two."""

    def codec(self, settings: Mapping[str, Any]) -> Codec:
        """Return the codec of a preset, on the device it names."""
        return preset_codec(settings)

    def prepare(self, recordings: Recordings, settings: Mapping[str, Any], run: Path) -> pd.DataFrame:
        """Return codes.csv, as SoundStorm's; with text, captions.csv of the recordings is left in the run."""
        return MASKED.prepare(recordings, settings, run)

    def train(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Trained:
        """Train on the run's codes; see `LanguageTrainer`."""
        trainer = self.trainer(settings, run, device)
        history = trainer.fit()
        return Trained(history, training_facts(trainer) | {"bigram_loss": trainer.bigram["all"]})

    def trainer(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> LanguageTrainer:
        """Return the trainer of a run."""
        options = read_options(LanguageOptions, settings)
        train, watched, codec_hash = MASKED.code_sets(settings, run)
        texts, told = texts_of(settings, run)
        text = tuple(Texts(*one) for one in texts) or None
        shape = {name: settings[name] for name in ("dim", "n_layers", "n_heads", "ff_mult", "dropout", "codebook_size")}
        config = LanguageConfig(
            train.codes[0].shape[0],
            n_classes=len(train.categories) if settings["class_conditional"] else 0,
            text_dim=text[0].vectors.shape[2] if text else 0,
            tied=settings["tied_embeddings"],
            pattern=options.pattern,
            **shape,
        )
        shared = TrainingConfig(**{field.name: settings[field.name] for field in fields(TrainingConfig)})
        own = {name: value for name, value in asdict(options).items() if name not in ("pattern", "text")}
        codebooks = MASKED._codebooks(settings, codec_hash) if shared.start_from_codes else None
        plan = LanguagePlan(shared, **own)
        return LanguageTrainer(train, watched, config, plan, run, device, codec_hash, codebooks, text, told)

    def load(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Language:
        """Return a run's model, the best by its validation fold or else the last, or the file `checkpoint`."""
        codec = self.codec(settings)
        file = settings["checkpoint"] or chosen_checkpoint(run)
        checkpoint, drawn = load_language(file, device, codec.content_hash), decoding_config(settings, device)
        config = WritingConfig(**{field.name: getattr(drawn, field.name) for field in fields(WritingConfig)})
        made = checkpoint, codec, config, sha256_file(file), settings["sample_batch_size"]
        return Language(*made, encoder_of(checkpoint.facts))


@cache
def _code() -> str:
    return module_hash(__name__)
