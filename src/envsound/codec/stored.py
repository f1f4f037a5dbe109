"""Codecs trained by this study: a safetensors file of 16-bit weights that carries its own shape."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file
from envsound.base.tensors import read_tensors, tensor_bytes, write_tensors
from envsound.codec.base import Autoencoder, Codec
from envsound.codec.decoder import DecoderConfig, MelDecoder, NoiseDecoder
from envsound.codec.fourier import FourierCodec
from envsound.codec.patches import PatchCodec, PatchConfig, PatchQuantizer
from envsound.codec.seanet import SeanetCodec

GENERATORS: dict[str, type[Autoencoder]] = {one.generator: one for one in (FourierCodec, SeanetCodec)}
PATCHES = "patches"  # what a file of patch tokens says of itself in place of a generator
DECODER = "decoder."  # before the names of its decoder's tensors


def generator_class(name: str) -> type[Autoencoder]:
    """Return the generator called `name`. Raises InputError for any other name."""
    if name not in GENERATORS:
        raise InputError(f"generator={name!r}: expected {' or '.join(GENERATORS)}")
    return GENERATORS[name]


class StoredCodec(Codec):
    """A trained generator behind the study's codec interface."""

    def __init__(self, model: Autoencoder, name: str, content_hash: str):
        self.config = config = model.config
        self.model, self.device = model.eval().requires_grad_(False), model.device
        self.name, self.content_hash = name, content_hash
        self.sample_rate, self.frame_rate = config.sample_rate, config.sample_rate // config.hop
        self.n_levels, self.codebook_size = config.n_levels, config.codebook_size
        self._encode, self._vectors, self._sound = model.encode, model.quantizer.decode, model.sound


def save_codec(path: str | Path, model: Autoencoder) -> None:
    """Write a codec's weights as float16 safetensors, with its generator and shape in the file's metadata."""
    weights = {name: value.half() for name, value in model.state_dict().items()}
    write_tensors(path, weights, "codec", {"generator": model.generator, "config": asdict(model.config)})


def patch_codec(quantizer: PatchQuantizer, decoder: MelDecoder | None = None) -> PatchCodec:
    """Return a codec of these code vectors, on their device, heard through `decoder`; None is shaped white noise.

    It is the codec that a file of `save_patches` gives, with 16-bit weights and that file's content hash.
    """
    tensors, header = _patch_content(quantizer, decoder)
    content_hash = sha256_bytes(tensor_bytes(tensors, "codec", header))
    return _patch_codec(tensors, header, PATCHES, content_hash, quantizer.vectors.device)


def save_patches(path: str | Path, quantizer: PatchQuantizer, decoder: MelDecoder | None = None) -> None:
    """Write code vectors and decoder (None: shaped white noise, which has no weights) as float16 safetensors."""
    tensors, header = _patch_content(quantizer, decoder)
    write_tensors(path, tensors, "codec", header)


def _patch_content(quantizer: PatchQuantizer, decoder: MelDecoder | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    weights = {} if decoder is None else {DECODER + name: value for name, value in decoder.state_dict().items()}
    tensors = {name: value.half() for name, value in {"vectors": quantizer.vectors, **weights}.items()}
    shape = None if decoder is None else asdict(decoder.config)
    return tensors, {"generator": PATCHES, "config": asdict(quantizer.config), "decoder": shape}


def _patch_codec(
    tensors: dict[str, Tensor], header: dict[str, Any], name: str, content_hash: str, device: torch.device
) -> PatchCodec:
    """Return the codec that a file holds; raises what `load_stored` reports."""
    config, shape = PatchConfig(**header["config"]), header["decoder"]
    quantizer = PatchQuantizer(config, len(tensors["vectors"]) // config.n_levels)
    quantizer.load_state_dict({"vectors": tensors["vectors"]})
    decoder = NoiseDecoder(config) if shape is None else MelDecoder(config, DecoderConfig(**shape))
    weights = {name.removeprefix(DECODER): value for name, value in tensors.items() if name != "vectors"}
    decoder.load_state_dict(weights, strict=True)
    return PatchCodec(quantizer.to(device), decoder.to(device), name, content_hash)


def load_stored(path: str | Path, name: str, device: torch.device) -> StoredCodec | PatchCodec:
    """Load a codec written by `save_codec` or `save_patches`; computes in float32.

    Raises InputError naming the file when it is missing, damaged or not such a codec.
    """
    try:
        weights, header = read_tensors(path, "codec")
        if header["generator"] == PATCHES:
            return _patch_codec(weights, header, name, sha256_file(path), device)
        generator = GENERATORS[header["generator"]]
        model = generator(generator.shape(**header["config"]))
        model.load_state_dict(weights, strict=True)  # widens them to float32
    except (OSError, SafetensorError) as error:
        raise InputError(f"codec file {path}: cannot be read ({error}); expected a safetensors file") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"codec file {path}: not a codec of this study ({error})") from None
    return StoredCodec(model.to(device), name, sha256_file(path))
