"""Codecs trained by this study: a safetensors file of 16-bit weights that carries its own shape."""

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.base.tensors import read_tensors, write_tensors
from envsound.codec.base import Autoencoder, check_codes, encode_by_length
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.seanet import SeanetCodec, SeanetConfig

GENERATORS = {"fourier": (FourierCodec, FourierConfig), "seanet": (SeanetCodec, SeanetConfig)}


def generator_class(name: str) -> type[Autoencoder]:
    """Return the generator called `name`. Raises InputError for any other name."""
    if name not in GENERATORS:
        raise InputError(f"generator={name!r}: expected {' or '.join(GENERATORS)}")
    return GENERATORS[name][0]


class StoredCodec:
    """A trained generator behind the study's codec interface (see `base.Codec`)."""

    def __init__(self, model: Autoencoder, name: str, content_hash: str):
        config = model.config
        self.model = model.eval().requires_grad_(False)
        self.name, self.content_hash = name, content_hash
        self.sample_rate, self.frame_rate = config.sample_rate, config.sample_rate // config.hop
        self.n_levels, self.codebook_size = config.n_levels, config.codebook_size

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames that cover `n_samples` samples."""
        return self.model.n_frames(n_samples)

    @torch.no_grad()
    def encode(self, clips: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """Encode clips [batch, n_samples] to codes [batch, n_levels, n_frames]; see `base.Codec.encode`."""
        clips = clips.to(self.model.device)
        return encode_by_length(self.model.encode, clips, n_samples, self.n_levels, self.codebook_size)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [batch, 1..n_levels, n_frames] to clips [batch, n_frames * hop] in [-1, 1].

        Raises InputError for the mask token or any other value that is not a code.
        """
        check_codes(codes, self.n_levels, self.codebook_size)
        return self.model.decode(codes.long().to(self.model.device))

    @torch.no_grad()
    def dequantise(self, codes: Tensor) -> Tensor:
        """Return what codes [batch, 1..n_levels, n_frames] stand for before decoding: [batch, latent_dim, n_frames].

        The sum of the levels' code vectors. Raises InputError as `decode` does.
        """
        check_codes(codes, self.n_levels, self.codebook_size)
        return self.model.quantizer.decode(codes.long().to(self.model.device))


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
        codec, config = GENERATORS[header["generator"]]
        model = codec(config(**header["config"]))
        model.load_state_dict(weights, strict=True)  # widens them to float32
    except (OSError, SafetensorError) as error:
        raise InputError(f"codec file {path}: cannot be read ({error}); expected a safetensors file") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"codec file {path}: not a codec of this study ({error})") from None
    return StoredCodec(model.to(device), name, sha256_file(path))
