"""A trained model on disk, with its shape, classes and codec's hash; and what untrained weights may start from."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.tensors import read_tensors, write_tensors
from envsound.codec.base import Codec
from envsound.codec.encodec_24khz import EnCodec24kHz
from envsound.codec.stored import StoredCodec
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig


@dataclass(frozen=True)
class Checkpoint:
    """A model, the names of its classes in index order, and facts about its training (epoch, step, codec_hash)."""

    model: MaskedConformer
    categories: list[str]
    facts: dict[str, Any]


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as safetensors, atomically."""
    header = {
        "model_config": asdict(checkpoint.model.config),
        "categories": checkpoint.categories,
        "facts": checkpoint.facts,
    }
    write_tensors(path, checkpoint.model.state_dict(), "checkpoint", header)


def chosen_checkpoint(run_dir: str | Path) -> Path:
    """Return the model that a run is judged by: its best epoch's where a validation fold chose one, else the last."""
    folder = Path(run_dir) / "checkpoints"
    best = folder / "best.safetensors"
    return best if best.exists() else folder / "last.safetensors"


def start_from(model: MaskedConformer, path: str | Path, codec_hash: str) -> None:
    """Give `model` the weights of a checkpoint, all but those of the classes, which are other ones.

    Raises InputError when the checkpoint cannot be loaded, has another shape, or another codec's codes.
    """
    found = load_checkpoint(path, next(model.parameters()).device, codec_hash).model
    shapes = [replace(one.config, n_classes=0, dropout=0.0) for one in (model, found)]
    if shapes[0] != shapes[1]:
        raise InputError(f"checkpoint {path}: a model of shape {shapes[1]}; expected {shapes[0]}")
    weights = {name: value for name, value in found.state_dict().items() if not name.startswith("class_embedding")}
    model.load_state_dict(weights, strict=False)


def load_checkpoint(path: str | Path, device: torch.device, codec_hash: str | None = None) -> Checkpoint:
    """Load a checkpoint written by `save_checkpoint`.

    Raises InputError naming the file when it is missing, damaged, not such a checkpoint, or was trained on the codes
    of another codec than `codec_hash`.
    """
    try:
        weights, header = read_tensors(path, "checkpoint", str(device))
        model = MaskedConformer(ModelConfig(**header["model_config"]))
        model.load_state_dict(weights)
        checkpoint = Checkpoint(model.to(device).eval(), header["categories"], header["facts"])
    except (OSError, SafetensorError) as error:
        raise InputError(f"checkpoint {path}: cannot be read ({error}); expected a safetensors file") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"checkpoint {path}: not a model of this study ({error})") from None
    trained_on = checkpoint.facts.get("codec_hash")
    if codec_hash is not None and trained_on != codec_hash:
        raise InputError(f"checkpoint {path}: trained on codes of codec {trained_on}, but the codec is {codec_hash}")
    return checkpoint


def codebooks_of(codec: Codec) -> Tensor:
    """Return a codec's code vectors, float32 [n_levels, codebook_size, latent_dim], on the CPU.

    Raises InputError for a codec whose codebooks this study does not know.
    """
    if isinstance(codec, StoredCodec):
        found = codec.model.quantizer.codebooks
    elif isinstance(codec, EnCodec24kHz):
        layers = codec.model.quantizer.vq.layers[: codec.n_levels]
        found = torch.stack([layer.codebook for layer in layers])
    else:
        raise InputError(f"codec {codec.name}: has no codebooks to start from; expected a stored codec or EnCodec")
    return found.detach().float().cpu()


@torch.no_grad()
def start_from_codebooks(model: MaskedConformer, codebooks: Tensor, generator: torch.Generator) -> None:
    """Set a model's embeddings to codebooks [n_levels, codebook_size, latent_dim], rotated into the model's width.

    The rotation is random and orthonormal, so that distances between codes are kept up to one factor for all levels,
    chosen so that the summed embeddings have unit variance, as random ones have. A level's mean over its codes is
    taken out. The mask token of each level gets a direction of its own, orthogonal to all codes, and the length that
    its level's codes have. Raises InputError when the shapes do not fit.
    """
    shape = model.config
    n_levels, codebook_size, latent_dim = codebooks.shape
    if (n_levels, codebook_size) != (shape.n_levels, shape.codebook_size):
        raise InputError(
            f"codebooks: {n_levels} levels of {codebook_size} codes; expected {shape.n_levels} of {shape.codebook_size}"
        )
    if latent_dim + n_levels > shape.dim:
        raise InputError(f"dim={shape.dim}: expected at least {latent_dim + n_levels} channels for these codebooks")
    drawn = torch.randn(shape.dim, latent_dim + n_levels, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(drawn).Q.T  # orthonormal rows
    centred = codebooks.double() - codebooks.double().mean(1, keepdim=True)
    lengths = centred.square().sum(2).mean(1).sqrt()  # [n_levels], root mean square over codes
    factor = math.sqrt(shape.dim / float(lengths.square().sum().clamp(min=1e-12)))
    masks = lengths[:, None] * directions[latent_dim:]
    for embedding, vectors, mask in zip(model.embeddings, centred, masks, strict=True):
        rows = torch.cat([vectors @ directions[:latent_dim], mask[None]])
        embedding.weight.copy_(factor * rows)
