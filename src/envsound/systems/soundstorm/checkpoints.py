"""A trained model on disk, with its shape, classes and codec's hash."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from envsound.base.errors import InputError
from envsound.base.tensors import read_tensors, write_tensors
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig


@dataclass(frozen=True)
class Checkpoint:
    """A model, the names of its classes in index order, and facts about its training.

    facts: epoch, step, codec_hash, and window, the longest training clip in frames; of the model that ships also its
    decoding (see `generator`).
    """

    model: MaskedConformer
    categories: list[str]
    facts: dict[str, Any]


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as safetensors, atomically."""
    shape = asdict(checkpoint.model.config)
    for name in ("tied", "text_dim"):  # as in the files of models that could not be
        shape = {key: value for key, value in shape.items() if key != name or value}
    header = {
        "model_config": shape,
        "categories": checkpoint.categories,
        "facts": checkpoint.facts,
    }
    write_tensors(path, checkpoint.model.state_dict(), "checkpoint", header)


def chosen_checkpoint(run_dir: str | Path) -> Path:
    """Return the model that a run is judged by: its best epoch's where a validation fold chose one, else the last."""
    folder = Path(run_dir) / "checkpoints"
    best = folder / "best.safetensors"
    return best if best.exists() else folder / "last.safetensors"


def start_from(model: MaskedConformer, path: str | Path, codec_hash: str, categories: Sequence[str] = ()) -> None:
    """Give `model` the weights of a checkpoint; those of the classes only where they are the same `categories`.

    Raises InputError when the checkpoint cannot be loaded, has another shape, or another codec's codes.
    """
    checkpoint = load_checkpoint(path, next(model.parameters()).device, codec_hash)
    found, same = checkpoint.model, list(categories) == checkpoint.categories
    shapes = [replace(one.config, n_classes=0, dropout=0.0) for one in (model, found)]
    if shapes[0] != shapes[1]:
        raise InputError(f"checkpoint {path}: a model of shape {shapes[1]}; expected {shapes[0]}")
    state = found.state_dict().items()
    weights = {name: value for name, value in state if same or not name.startswith("class_embedding")}
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
