"""What a codec is trained by: spectral losses, discriminators with theirs, and the balancer that weighs them all."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from envsound.codec.mel import mel_bank

LOG_FLOOR = 1e-4  # -80 dB; relative losses explode on silent crops without a floor
SCALES = ((256, 20), (512, 40), (1024, 80), (2048, 128))  # window in samples, mel bands


@cache
def mel_filters(sample_rate: int, n_fft: int, n_mels: int, device: torch.device | None = None) -> Tensor:
    """Return the mel filter bank scaled so that each band is a weighted mean, float32 [n_mels, n_fft // 2 + 1].

    Bands of unit area in Hz have, times the width of a bin, weights that add up to 1, so that white noise has the same
    level in every band as in every bin. One copy is kept for each device: no step waits for it.
    """
    return torch.from_numpy(mel_bank(sample_rate, n_fft, n_mels) * np.float32(sample_rate / n_fft)).to(device)


def magnitude(clips: Tensor, n_fft: int) -> Tensor:
    """Return |STFT| of clips [batch, n_samples], Hann window, hop n_fft / 4: [batch, n_bins, n_frames].

    Scaled by 1 / sqrt(n_fft), so that white noise has the same level at every window length.
    """
    window = torch.hann_window(n_fft, device=clips.device)
    spectrum = torch.stft(clips, n_fft, n_fft // 4, window=window, normalized=True, return_complex=True)
    return spectrum.real.square().add(spectrum.imag.square()).add(1e-12).sqrt()


def spectral_views(clips: Tensor, sample_rate: int) -> list[dict[str, Tensor]]:
    """Return what the losses compare of clips [batch, n_samples]: log-mel, log-STFT, mel and log-energy of frames."""
    views = []
    for n_fft, n_mels in SCALES:
        spectrum = magnitude(clips, n_fft)
        mel = mel_filters(sample_rate, n_fft, n_mels, clips.device) @ spectrum
        energy = _log(spectrum.square().mean(1).sqrt())  # what the loudest bins decide, and with them the level
        views.append({"log_mel": _log(mel), "log_stft": _log(spectrum), "mel": mel, "log_energy": energy})
    return views


def spectral_distance(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]], levels: list[Tensor]) -> Tensor:
    """Mean over SCALES of L1 between log-mel, log-STFT and log-energy (half weight each), and mel divided by `levels`.

    EnCodec (sec. 3.4) adds L1 and L2 of log-mel spectrograms; on a small, quiet corpus these terms were
    stabler. one, other: what `spectral_views` returns; levels: a scalar for each scale.
    """
    total = torch.zeros((), device=one[0]["mel"].device)
    for a, b, level in zip(one, other, levels, strict=True):
        total = total + F.l1_loss(a["log_mel"], b["log_mel"]) + F.l1_loss(a["mel"], b["mel"]) / level
        for name in ("log_stft", "log_energy"):
            total = total + 0.5 * F.l1_loss(a[name], b[name])
    return total / len(SCALES)


def energy_losses(real: Tensor, fake: Tensor, twin: Tensor | None, sample_rate: int) -> dict[str, Tensor]:
    """Return the energy distances of decoded clips from real ones [batch, n_samples], and the plain spectral one.

    spectral: 2 d(real, fake) - d(fake, twin) (Gritsenko et al. 2020, arXiv:2008.01160), where `twin` was decoded from
    the same latents with other noise and d is `spectral_distance`. The second term pays for noise as much as the first
    one punishes it, so that the best decoder is the one whose noise is distributed like the recording's; without it a
    decoder does best by the median magnitude, which is too quiet and too even. waveform: the same with L1 between
    samples; without its second term it pulls whatever cannot be coded towards silence. The twin is a constant here:
    with half of both terms the gradient is the same in expectation. distance: d(real, fake), for the record.

    Without a twin (a decoder that has no noise) the second terms are left out.
    """
    views = spectral_views(fake, sample_rate)
    with torch.no_grad():
        real_views = spectral_views(real, sample_rate)
        levels = [view["mel"].mean().clamp(min=1e-3) for view in real_views]
        twin_views = None if twin is None else spectral_views(twin, sample_rate)
    distance, waveform = spectral_distance(views, real_views, levels), F.l1_loss(fake, real)
    losses = {"spectral": distance, "waveform": waveform, "distance": distance.detach()}
    if twin_views is not None:
        losses["spectral"] = distance - spectral_distance(views, twin_views, levels)
        losses["waveform"] = waveform - F.l1_loss(fake, twin)
    return losses


def _log(x: Tensor) -> Tensor:
    return torch.log(x + LOG_FLOOR)


def log_mel_distance(real: Tensor, other: Tensor, sample_rate: int) -> float:
    """Return the mean absolute difference in dB between log-mel spectra of clips [batch, n_samples].

    1024-sample Hann windows, hop 256, 80 bands; band magnitudes below 1e-4 (-80 dB) count as 1e-4.
    """
    filters = mel_filters(sample_rate, 1024, 80, real.device)
    levels = [20 * torch.log10((filters @ magnitude(clips, 1024)).clamp(min=1e-4)) for clips in (real, other)]
    return float(F.l1_loss(levels[0], levels[1]))


def level_difference(real: Tensor, other: Tensor) -> float:
    """Return how much louder `other` is than `real` [batch, n_samples], in dB, the median over clips."""
    ratio = other.square().mean(1).clamp(min=1e-12) / real.square().mean(1).clamp(min=1e-12)
    return float(10 * torch.log10(ratio).median())


class SpectrumDiscriminator(nn.Module):
    """Judges patches of one complex spectrogram; EnCodec's layout with fewer channels."""

    def __init__(self, n_fft: int, channels: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(width, channels, kernel_size=(3, 7), stride=(1, 2), padding=(1, 3)))
            for width in (2, channels, channels, channels)
        )
        self.judge = weight_norm(nn.Conv2d(channels, 1, kernel_size=3, padding=1))

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[batch, n_samples] -> scores [batch, 1, time, frequency] and the feature maps of every layer."""
        hop, rules = self.n_fft // 4, {"normalized": True, "return_complex": True}
        spectrum = torch.stft(clips, self.n_fft, hop, window=self.window, **rules)
        x = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # [batch, real and imaginary, time, frequency]
        return _judged(self, x, 0.2)


def _judged(discriminator: nn.Module, x: Tensor, slope: float) -> tuple[Tensor, list[Tensor]]:
    """Return a discriminator's scores of x and the feature maps of its layers, leaky at `slope`."""
    features = []
    for layer in discriminator.layers:
        x = F.leaky_relu(layer(x), slope)
        features.append(x)
    return discriminator.judge(x), features


class MultiScaleDiscriminator(nn.Module):
    """One SpectrumDiscriminator per window length (samples): EnCodec's discriminators (sec. 3.4), but small."""

    def __init__(self, n_ffts: tuple[int, ...] = (2048, 1024, 512), channels: int = 16):
        super().__init__()
        self.scales = nn.ModuleList(SpectrumDiscriminator(n_fft, channels) for n_fft in n_ffts)

    def forward(self, clips: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return [scale(clips) for scale in self.scales]


class PeriodDiscriminator(nn.Module):
    """Judges a waveform folded into columns `period` samples apart; HiFi-GAN's layout with fewer channels."""

    def __init__(self, period: int, channels: int):
        super().__init__()
        self.period = period
        widths = [1, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, kernel_size=(5, 1), stride=(stride, 1), padding=(2, 0)))
            for a, b, stride in zip(widths, widths[1:], (3, 3, 3, 3, 1), strict=False)
        )
        self.judge = weight_norm(nn.Conv2d(widths[-1], 1, kernel_size=(3, 1), padding=(1, 0)))

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[batch, n_samples] -> scores [batch, 1, time, period] and the feature maps of every layer."""
        x = F.pad(clips, (0, -clips.shape[1] % self.period)).unflatten(1, (1, -1, self.period))
        return _judged(self, x, 0.1)


class Jury(nn.Module):
    """Discriminators of spectra and of periods together (HiFi-GAN, Kong et al. 2020, sec. 2.3).

    periods: in samples; primes, so that none sees what another one sees.
    """

    def __init__(self, channels: int = 16, periods: tuple[int, ...] = (2, 3, 5, 7, 11)):
        super().__init__()
        self.spectra = MultiScaleDiscriminator(channels=channels)
        self.periods = nn.ModuleList(PeriodDiscriminator(period, channels) for period in periods)

    def forward(self, clips: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return self.spectra(clips) + [period(clips) for period in self.periods]


def discriminator_loss(real: list, fake: list) -> Tensor:
    """Hinge loss of the discriminator (EnCodec sec. 3.4), the mean over scales."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for (r, _), (f, _) in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def adversarial_loss(fake: list) -> Tensor:
    """Hinge loss of the generator (EnCodec eq. 1), the mean over scales."""
    return torch.stack([F.relu(1 - scores).mean() for scores, _ in fake]).mean()


def feature_loss(real: list, fake: list) -> Tensor:
    """Relative feature matching (EnCodec eq. 2): L1 between feature maps over the mean of the real one."""
    losses = [
        F.l1_loss(f, r.detach()) / r.detach().abs().mean().clamp(min=1e-3)
        for (_, real_maps), (_, fake_maps) in zip(real, fake, strict=True)
        for r, f in zip(real_maps, fake_maps, strict=True)
    ]
    return torch.stack(losses).mean()


class Balancer:
    """Combines gradients of several losses with respect to the decoder's output (EnCodec, eq. 5).

    Each is divided by a moving average of its norm and multiplied by its weight. We deviate from EnCodec in the total
    norm: not 1, but that of the `reference` loss, so that the weight of the commitment loss, which does not pass
    through the output, keeps its meaning when other losses join. The averages of the encodec package's balancer live in
    a closure; these can be saved, so that training goes on after an interruption as if nothing had happened. They stay
    on the gradients' device: no step waits for them.
    """

    def __init__(self, weights: dict[str, float], reference: str, decay: float = 0.99):
        self.weights, self.reference, self.decay = weights, reference, decay
        self.norms: dict[str, list] = {}  # loss -> [decayed sum, a scalar tensor; decayed count]

    def combine(self, gradients: dict[str, Tensor]) -> Tensor:
        """Return the combined gradient: gradients of one shape [batch, n_samples], one for each loss in play."""
        for name, gradient in gradients.items():
            total, count = self.norms.get(name, [0.0, 0.0])
            norm = gradient.flatten(1).norm(dim=1).mean()
            norm = norm if norm.device.type == "mps" else norm.double()  # Apple's GPUs have no float64
            self.norms[name] = [total * self.decay + norm, count * self.decay + 1.0]
        scale = self.norm(self.reference) / self.weights[self.reference]
        scaled = [g * (self.weights[n] * scale / self.norm(n).clamp(min=1e-12)) for n, g in gradients.items()]
        return torch.stack(scaled).sum(0)

    def norm(self, name: str) -> Tensor:
        """Return the moving average of the norm of a loss's gradient, a scalar."""
        total, count = self.norms[name]
        return total / count
