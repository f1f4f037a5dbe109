"""Decoders of patch tokens: log-mel to the spectrum of a tonal part and of a noise, and from there to a clip.

As in Vocos (Siuzdak 2023, sec. 3) ConvNeXt blocks run at the frame rate and a Fourier transform makes the waveform; a
second magnitude, which shapes white noise, is ours (see `fourier`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from envsound.codec.fourier import Stack
from envsound.codec.patches import LOG_FLOOR, PatchConfig
from envsound.codec.spectra import from_spectra, tonal_and_noise, white_spectra

CENTRE, SPREAD = -9.0, 5.0  # nepers of power: about the mean and deviation of log-mel in recordings
TONAL_START = -2.0  # log-magnitude of the tonal part over the envelope before learning


class MelEnvelope(nn.Module):
    """Log-mel to the log-magnitude of Fourier bins: [batch, n_frames, n_mels] -> [batch, n_frames, n_bins].

    A bin has the log-power of the mel bands it lies in, averaged by their triangles; one that no band reaches is
    silent. Noise with these magnitudes has the power of the bands.
    """

    def __init__(self, patches: PatchConfig):
        super().__init__()
        window = torch.hann_window(patches.n_fft)
        weights = patches.mel_weights()
        triangles = weights / weights.amax(1, keepdim=True)
        total = triangles.sum(0)
        offset = torch.where(total > 0, 0.0, LOG_FLOOR) + window.square().sum().log()
        self.register_buffer("spread", triangles / total.clamp(min=1e-6), persistent=False)  # [n_mels, n_bins]
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        return 0.5 * (log_mel @ self.spread + self.offset)


class NoiseDecoder(nn.Module):
    """The decoder that needs no training: white noise with the power of the mel bands, and nothing tonal."""

    def __init__(self, patches: PatchConfig):
        super().__init__()
        self.patches, self.envelope = patches, MelEnvelope(patches)
        self.register_buffer("window", torch.hann_window(patches.n_fft), persistent=False)

    def synthesise(self, log_mel: Tensor, noise: Tensor) -> Tensor:
        """Map log-mel [batch, n_frames, n_mels] and white noise [batch, n_samples] to clips [batch, n_samples]."""
        white = white_spectra(noise, self.window, self.patches.hop, self.patches.n_bins)
        return from_spectra(self.envelope(log_mel).exp() * white, self.window, self.patches.hop)


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a MelDecoder: 5.6 M weights; stored beside them."""

    dim: int = 320
    hidden: int = 960
    n_blocks: int = 8


class MelDecoder(nn.Module):
    """A network from log-mel [batch, n_frames, n_mels] to clips; `patches` says what log-mel is.

    It says how far the magnitudes of both parts are from the envelope that log-mel tells: before it has learnt anything
    it is nearly the NoiseDecoder. No codes tell a phase; it finds angles for clicks and other transients alone.
    """

    def __init__(self, patches: PatchConfig, config: DecoderConfig | None = None):
        super().__init__()
        self.patches, self.config = patches, config or DecoderConfig()
        shape = {"dim": self.config.dim, "hidden": self.config.hidden, "n_blocks": self.config.n_blocks}
        self.network = Stack(patches.n_mels, 3 * patches.n_bins, **shape)
        self.envelope = MelEnvelope(patches)
        self.register_buffer("window", torch.hann_window(patches.n_fft), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return log-magnitude and angle of the tonal part, log-magnitude of the noise: [.., n_frames, 3 * n_bins]."""
        log_magnitude, angle, log_noise = self.network((log_mel - CENTRE) / SPREAD).float().chunk(3, dim=-1)
        with torch.autocast(log_mel.device.type, enabled=False):  # 8 bits cannot hold a log-power
            envelope = self.envelope(log_mel)
        return torch.cat([log_magnitude + envelope + TONAL_START, angle, log_noise + envelope], dim=-1)

    def render(self, decoded: Tensor, noise: Tensor) -> Tensor:
        """Turn what `forward` gave and white noise [batch, n_frames * hop] into clips of the noise's shape."""
        spectra = tonal_and_noise(decoded, noise, self.window, self.patches.hop)
        return from_spectra(spectra, self.window, self.patches.hop)

    def synthesise(self, log_mel: Tensor, noise: Tensor) -> Tensor:
        """Map log-mel [batch, n_frames, n_mels] and white noise [batch, n_samples] to clips [batch, n_samples]."""
        return self.render(self(log_mel), noise)
