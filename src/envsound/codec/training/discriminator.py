"""Small multi-scale STFT discriminators and the losses around them (EnCodec, Defossez et al. 2022, sec. 3.4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class SpectrumDiscriminator(nn.Module):
    """Judges patches of one complex spectrogram; EnCodec's layout with fewer channels."""

    def __init__(self, n_fft: int, channels: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        widths = [2, channels, channels, channels, channels]
        strides = [(1, 2), (1, 2), (1, 2), (1, 2)]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, kernel_size=(3, 7), stride=stride, padding=(1, 3)))
            for a, b, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.judge = weight_norm(nn.Conv2d(channels, 1, kernel_size=3, padding=1))

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[batch, n_samples] -> scores [batch, 1, time, frequency] and the feature maps of every layer."""
        spectrum = torch.stft(
            clips, self.n_fft, self.n_fft // 4, window=self.window, normalized=True, return_complex=True
        )
        x = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # [batch, real and imaginary, time, frequency]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.judge(x), features


class MultiScaleDiscriminator(nn.Module):
    """One SpectrumDiscriminator per window length (samples)."""

    def __init__(self, n_ffts: tuple[int, ...] = (2048, 1024, 512), channels: int = 16):
        super().__init__()
        self.scales = nn.ModuleList(SpectrumDiscriminator(n_fft, channels) for n_fft in n_ffts)

    def forward(self, clips: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return [scale(clips) for scale in self.scales]


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
