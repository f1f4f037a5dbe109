"""Codecs trained by this study: a safetensors file of 16-bit weights that carries its own shape."""

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.base.tensors import read_tensors, write_tensors
from envsound.codec.base import Autoencoder, Codec
from envsound.codec.fourier import FourierCodec
from envsound.codec.seanet import SeanetCodec

GENERATORS: dict[str, type[Autoencoder]] = {one.generator: one for one in (FourierCodec, SeanetCodec)}


def generator_class(name: str) -> type[Autoencoder]:
    """Return the generator called `name`. Raises InputError for any other name."""
    if name not in GENERATORS:
        raise InputError(f"generator={name!r}: expected {' or '.join(GENERATORS)}")
    return GENERATORS[name]


class StoredCodec(Codec):
    """A trained generator behind the study's codec interface."""

    def __init__(self, model: Autoencoder, name: str, content_hash: str):
        config = model.config
        self.model, self.device = model.eval().requires_grad_(False), model.device
        self.name, self.content_hash = name, content_hash
        self.sample_rate, self.frame_rate = config.sample_rate, config.sample_rate // config.hop
        self.n_levels, self.codebook_size = config.n_levels, config.codebook_size
        self._encode, self._vectors, self._sound = model.encode, model.quantizer.decode, model.sound


def save_codec(path: str | Path, model: Autoencoder) -> None:
    """Write a codec's weights as float16 safetensors, with its generator and shape in the file's metadata."""
    weights = {name: value.half() for name, value in model.state_dict().items()}
    write_tensors(path, weights, "codec", {"generator": model.generator, "config": asdict(model.config)})


def load_stored(path: str | Path, name: str, device: torch.device) -> StoredCodec:
    """Load a codec written by `save_codec`; computes in float32.

    Raises InputError naming the file when it is missing, damaged or not such a codec.
    """
    try:
        weights, header = read_tensors(path, "codec")
        generator = GENERATORS[header["generator"]]
        model = generator(generator.shape(**header["config"]))
        model.load_state_dict(weights, strict=True)  # widens them to float32
    except (OSError, SafetensorError) as error:
        raise InputError(f"codec file {path}: cannot be read ({error}); expected a safetensors file") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"codec file {path}: not a codec of this study ({error})") from None
    return StoredCodec(model.to(device), name, sha256_file(path))
