"""Embeddings of networks trained elsewhere, AST and CLAP, where the package transformers and the user's weights are.

Neither is a dependency of the study. Weights are read from a folder or from the local Hugging Face cache and are never
downloaded; without them `pretrained_embeddings` says why an embedding is not run here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envsound.base.device import choose_device
from envsound.base.errors import InputError, NotHere
from envsound.base.files import sha256_bytes
from envsound.evaluation.spaces.embeddings import NotRun

AST_WEIGHTS = "MIT/ast-finetuned-audioset-10-10-0.4593"
CLAP_WEIGHTS = "laion/clap-htsat-unfused"
BATCH_SIZE = 8  # clips heard at once; both networks are large
SHORTEST_SECONDS = 0.1  # s; a shorter clip is padded with zeros to hold several analysis windows
CLAP_SECONDS = 10.0  # s; of a longer clip its feature extractor would take a random part


@dataclass(frozen=True)
class PretrainedEmbedding:
    """A network of transformers behind the interface of `embeddings.Embedding`.

    `extractor`, one of transformers, turns clips at `sample_rate` Hz into what `network` takes; `points` takes the
    embedding, [batch, dim], from its answer. `max_seconds`: only so much of a clip is heard.
    """

    name: str
    network: torch.nn.Module
    extractor: Any  # callable, with `to_json_string`
    points: Callable[[Any], Tensor]
    sample_rate: int
    max_seconds: float
    device: torch.device

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the name and bytes of every weight and stored buffer, and the extractor's settings."""
        parts = [
            f"{name}:{sha256_bytes(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())}"
            for name, value in sorted(self.network.state_dict().items())
        ]
        parts += [self.extractor.to_json_string(), f"{self.max_seconds} s"]
        return sha256_bytes("\n".join(parts).encode())

    @torch.no_grad()
    def embed(self, clips: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Return points, float32 [n_clips, dim], of clips float [n_samples]. Raises InputError for another rate."""
        if sample_rate != self.sample_rate:
            raise InputError(f"sample_rate={sample_rate}: {self.name} hears {self.sample_rate} Hz; resample first")
        found = []
        for start in range(0, len(clips), BATCH_SIZE):
            batch = [self._fitted(clip) for clip in clips[start : start + BATCH_SIZE]]
            with own_numpy_state():
                inputs = self.extractor(batch, sampling_rate=sample_rate, return_tensors="pt")
            answer = self.network(**{name: value.to(self.device) for name, value in inputs.items()})
            found.append(self.points(answer).float().cpu().numpy())
        return np.concatenate(found)

    def _fitted(self, clip: np.ndarray) -> np.ndarray:
        clip = np.asarray(clip, dtype=np.float32)[: round(self.max_seconds * self.sample_rate)]
        return np.pad(clip, (0, max(0, round(SHORTEST_SECONDS * self.sample_rate) - clip.size)))


@contextmanager
def own_numpy_state() -> Iterator[None]:
    """Give code that draws from numpy's global state a fixed one, and leave that state as it was."""
    before = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(before)


def load_ast(weights: str | Path = "", device: str = "auto") -> PretrainedEmbedding:
    """Load the Audio Spectrogram Transformer trained on AudioSet (Gong et al. 2021); its pooled output, 768 numbers.

    weights: a folder in the format of transformers; "" is AST_WEIGHTS in the local Hugging Face cache. The network
    hears up to about 10 s, padded with zeros. Raises NotHere when transformers or the cached weights are missing,
    InputError for a folder that holds something else.
    """
    network, extractor, target = _load("AST", "ASTModel", weights, AST_WEIGHTS, device)
    seconds = extractor.max_length / 100  # frames of 10 ms
    points = attrgetter("pooler_output")
    return PretrainedEmbedding("AST", network, extractor, points, extractor.sampling_rate, seconds, target)


def load_clap(weights: str | Path = "", device: str = "auto") -> PretrainedEmbedding:
    """Load the audio half of LAION's CLAP (Wu et al. 2023); its projected embedding, scaled to length 1 as in training.

    weights: a folder in the format of transformers; "" is CLAP_WEIGHTS in the local Hugging Face cache. It hears the
    first 10 s; shorter clips are repeated by its feature extractor. Raises as `load_ast` does, and InputError for a
    fused CLAP, which marks random clips of a batch as long.
    """
    network, extractor, target = _load("CLAP", "ClapAudioModelWithProjection", weights, CLAP_WEIGHTS, device)
    if extractor.truncation == "fusion":
        raise InputError(f"CLAP {weights or CLAP_WEIGHTS}: is fused, which hears at random; expected an unfused one")

    def points(answer: Any) -> Tensor:
        return F.normalize(answer.audio_embeds, dim=-1)

    return PretrainedEmbedding("CLAP", network, extractor, points, extractor.sampling_rate, CLAP_SECONDS, target)


def pretrained_embeddings(
    ast_weights: str | Path = "", clap_weights: str | Path = "", device: str = "auto"
) -> list[PretrainedEmbedding | NotRun]:
    """Return AST and CLAP, each as an embedding or, when it is not on this machine, as a NotRun that says why.

    Raises InputError for a folder that was named and does not hold the network.
    """
    found: list[PretrainedEmbedding | NotRun] = []
    for name, load, weights in (("AST", load_ast, ast_weights), ("CLAP", load_clap, clap_weights)):
        try:
            found.append(load(weights, device))
        except NotHere as error:
            found.append(NotRun(name, str(error)))
    return found


def _load(name: str, kind: str, weights: str | Path, cached: str, device: str) -> tuple[Any, Any, torch.device]:
    """Return a network of class `kind` in evaluation mode, its feature extractor and its device."""
    if weights and not Path(weights).is_dir():
        raise InputError(f"{name} weights {weights}: is not a folder; expected one that transformers wrote")
    try:
        import transformers
    except ImportError:
        raise NotHere(f"{name} needs the package transformers, which is not installed") from None
    place = str(weights or cached)
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(place, local_files_only=True)
        network, report = getattr(transformers, kind).from_pretrained(
            place, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and not weights:  # what transformers raises for files that are not cached
            raise NotHere(f"the weights {cached} are not in the local Hugging Face cache") from None
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name} weights {place}: cannot be loaded ({reason}); expected a {kind}") from None
    missing = sorted(set(report["missing_keys"]) & {key for key, _ in network.named_parameters()})
    if missing:
        raise InputError(f"{name} weights {place}: lacks {len(missing)} tensors, such as {missing[0]}; expected {kind}")
    target = choose_device(device)
    return network.to(target).eval(), extractor, target
