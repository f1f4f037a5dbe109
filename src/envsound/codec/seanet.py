"""EnCodec's own generator, SEANet in the time domain (Defossez et al. 2022, sec. 3.1), behind the study's trainer.

Encoder and decoder are the encodec package's modules; quantizer and losses are the study's, because the package's
quantizer neither replaces dead codes nor passes the commitment gradient on (see `quantizer`).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from envsound.base.torchaudio_import import import_encodec
from envsound.codec.base import Autoencoder


@dataclass(frozen=True)
class SeanetConfig:
    """The shape of a SeanetCodec; stored beside its weights. EnCodec's released model has n_filters 32."""

    sample_rate: int = 24_000  # Hz
    ratios: tuple[int, ...] = (8, 5, 4, 2)  # strides of the decoder; their product is the hop
    n_filters: int = 20
    input_gain: float = 5.0  # recordings are quiet; without it the latent falls to zero before the decoder has learnt
    latent_dim: int = 128
    n_levels: int = 8
    codebook_size: int = 1024

    def __post_init__(self):
        object.__setattr__(self, "ratios", tuple(self.ratios))  # a file gives them back as a list

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.ratios)


class SeanetCodec(Autoencoder):
    """The time-domain generator: strided convolutions and an LSTM each way.

    Its latent has hardly more than one dimension, loudness, for hundreds of steps; quantized so early it stays that
    way. And without noise of its own it answers an L1 loss between waveforms with silence.
    """

    generator, shape = "seanet", SeanetConfig
    recipe: ClassVar[dict[str, float]] = {"quantize_from": 0.3, "waveform_weight": 0.01}

    def __init__(self, config: SeanetConfig | None = None):
        super().__init__(config)
        config, modules = self.config, import_encodec().modules
        sizes = {"dimension": config.latent_dim, "n_filters": config.n_filters, "ratios": list(config.ratios)}
        self.encoder = modules.SEANetEncoder(**sizes, causal=True)
        self.decoder = modules.SEANetDecoder(**sizes, causal=True)

    def latents(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples] to latents [batch, latent_dim, n_frames]."""
        missing = self.n_frames(clips.shape[1]) * self.config.hop - clips.shape[1]
        return self.encoder(F.pad(clips, (0, missing))[:, None] * self.config.input_gain)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Map latents [batch, latent_dim, n_frames] to clips [batch, n_frames * hop]."""
        return self.decoder(latents)[:, 0].float() / self.config.input_gain
