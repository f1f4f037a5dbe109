"""A masked model and a codec so small that a clip takes milliseconds; both untrained."""

import torch

from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import StoredCodec
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

SMALL_CODEC = "hash-of-small"


def small_codec() -> StoredCodec:
    torch.manual_seed(0)
    shape = {"dim": 16, "hidden": 16, "n_encoder_blocks": 1, "n_decoder_blocks": 1, "latent_dim": 4}
    return StoredCodec(FourierCodec(FourierConfig(**shape, n_levels=2, codebook_size=16)), "small", SMALL_CODEC)


def small_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    shape = ModelConfig(n_levels=2, codebook_size=16, dim=16, n_layers=1, n_heads=2, conv_kernel=5, n_classes=2)
    return Checkpoint(MaskedConformer(shape).eval(), ["dog", "rain"], {"codec_hash": SMALL_CODEC})
