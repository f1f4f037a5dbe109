"""What every trainable codec of the study is made of: a network into latents, a residual quantizer, a network out."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from envsound.codec.quantizer import ResidualQuantizer

SILENCE_RMS = 2e-4  # full scale 1; a decoded frame quieter than this (-74 dB) is digital silence


class Autoencoder(nn.Module, ABC):
    """Encoder, residual quantizer and decoder between clips [batch, n_samples] and codes [batch, n_levels, n_frames].

    A generator subclasses it and provides `latents` (clips to latents) and `decode_latents` (latents to whatever its
    last layer gives). One whose decoder holds noise also provides `render` (what the last layer gave, and white
    noise, to clips) and `likelihood_loss`. A clip is padded with silence to whole frames.

    Attributes: `generator`, the name its weights are stored under; `stochastic`, whether `render` uses the noise;
    `recipe`, what it wants otherwise than `CodecTraining` has it.
    """

    generator = ""
    stochastic = False
    recipe: ClassVar[dict[str, float]] = {}

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.quantizer = ResidualQuantizer(config.n_levels, config.codebook_size, config.latent_dim)

    @property
    def device(self) -> torch.device:
        return self.quantizer.codebooks.device

    def n_parameters(self) -> int:
        """Return the number of weights, codebooks included."""
        return sum(value.numel() for value in self.state_dict().values())

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames that cover `n_samples` samples."""
        return -(-n_samples // self.config.hop)

    @abstractmethod
    def latents(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples] to latents [batch, latent_dim, n_frames]."""

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Run the decoder's network on latents [batch, latent_dim, n_frames]: everything before the noise."""

    def render(self, decoded: Tensor, noise: Tensor) -> Tensor:
        """Turn what `decode_latents` gave and white noise [batch, n_frames * hop] into clips of the noise's shape.

        Without a source of noise in the decoder its last layer gives the clips.
        """
        return decoded

    def likelihood_loss(self, decoded: Tensor, clips: Tensor) -> Tensor:
        """Return how unlikely clips are under what the decoder expects: 0 where it expects no range of sounds."""
        return decoded.new_zeros(())

    def synthesise(self, latents: Tensor) -> Tensor:
        """Map latents [batch, latent_dim, n_frames] to clips [batch, n_frames * hop], with the fixed noise."""
        return self.render(self.decode_latents(latents), self.fixed_noise(latents.shape[2]))

    def fixed_noise(self, n_frames: int) -> Tensor:
        """Return the white noise that decoding uses, float32 [1, n_frames * hop]: the same at every call and place.

        It depends on nothing but the position in time, so a change of codes changes the sound only there.
        """
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, n_frames * self.config.hop, generator=generator).to(self.device)

    def encode(self, clips: Tensor) -> Tensor:
        """Encode clips [batch, n_samples] of one length to codes int64 [batch, n_levels, n_frames]."""
        return self.quantizer.encode(self.latents(clips))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [batch, 1..n_levels, n_frames] to clips [batch, n_frames * hop], in [-1, 1].

        Frames that come out below SILENCE_RMS are set to zero: recordings hold digital silence, which no network
        puts out exactly, and whose zero crossings a residue of noise would count in thousands.
        """
        return gate_silence(self.synthesise(self.quantizer.decode(codes)).clamp(-1.0, 1.0), self.config.hop)


def gate_silence(clips: Tensor, hop: int) -> Tensor:
    """Set every frame of `hop` samples whose rms is below SILENCE_RMS to zero: clips [batch, n_frames * hop]."""
    frames = clips.unflatten(1, (-1, hop))
    audible = frames.square().mean(-1, keepdim=True).sqrt() >= SILENCE_RMS
    return (frames * audible).flatten(1)
