"""Setting the level of a trained codec, band by band.

A decoder trained on logarithms answers what it cannot know with a median. Power is skewed, its median lies below its
mean, and so everything comes back a little too quiet, some bands more than others. The remedy is that of any regression
on logarithms: measure the bias on the training material and take it out (Duan 1983, "smearing estimate").
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from envsound.codec.base import Autoencoder
from envsound.codec.decoder import MelDecoder
from envsound.codec.fourier import FourierCodec
from envsound.codec.mel import mel_edges
from envsound.codec.patches import PatchCodec, PatchQuantizer
from envsound.codec.spectra import frame_spectra
from envsound.codec.stored import patch_codec

N_BANDS = 16
AUDIBLE = 1e-7  # mean square of a band, -70 dB of full scale; quieter bands of a clip say nothing about level


def band_edges(codec: FourierCodec | PatchCodec, n_bands: int = N_BANDS) -> np.ndarray:
    """Return the edges of bands of equal width in mel that cover the coded bins, int [n_bands + 1], in bins."""
    config = codec.config
    edges = mel_edges(n_bands - 1, 0.0, config.max_hz)
    bins = np.round(edges * config.n_fft / config.sample_rate).astype(int)
    bins[-1] = config.n_bins
    return np.maximum.accumulate(np.maximum(bins, np.arange(n_bands + 1)))


@torch.no_grad()
def level_bias(codec: FourierCodec | PatchCodec, clips: Sequence[np.ndarray]) -> Tensor:
    """Return how many nepers the decoded clips lie below the originals, float32 [n_bins], smooth over frequency.

    clips: float32 [n_samples] each. The mean over clips of half the logarithm of the energy ratio in each band, drawn
    as straight lines between the middles of the bands; clips that are silent in a band do not count there.
    """
    edges = band_edges(codec)
    total, count = torch.zeros(len(edges) - 1), torch.zeros(len(edges) - 1)
    for clip in tqdm(clips, desc="level", unit="clip", leave=False):
        real = torch.from_numpy(clip)[None].to(codec.device)
        energies = [_band_energy(codec, sound, edges) for sound in (real, codec.decode(codec.encode(real)))]
        audible = (energies[0] > AUDIBLE) & (energies[1] > 0)
        ratio = torch.log(energies[0].clamp(min=1e-20) / energies[1].clamp(min=1e-20)) / 2
        total += torch.where(audible, ratio, torch.zeros_like(ratio))
        count += audible
    middles = (edges[:-1] + edges[1:]) / 2
    bias = np.interp(np.arange(codec.config.n_bins), middles, (total / count.clamp(min=1)).numpy())
    return torch.from_numpy(bias.astype(np.float32))


def calibrate_decoder(quantizer: PatchQuantizer, decoder: MelDecoder, clips: Sequence[np.ndarray]) -> Tensor:
    """Take the level bias on these clips, coded and decoded, out of the decoder's last layer; return it ([n_bins])."""
    bias = level_bias(patch_codec(quantizer, decoder), clips)
    _raise_level(decoder.network.leave, bias)
    return bias


def set_level(codec: Autoencoder, clips: Sequence[np.ndarray]) -> str:
    """Take the level bias on these clips out of a decoder that puts out a spectrum; say in Markdown what it was."""
    if not isinstance(codec, FourierCodec):
        return f"The level of a {codec.generator} codec stays as it was learnt: its decoder has no bands to set."
    bias = level_bias(codec.eval(), clips)
    _raise_level(codec.decoder.leave, bias)
    return level_words(bias, len(clips))


def level_words(bias: Tensor, n_clips: int) -> str:
    """Say in Markdown what level bias (nepers, [n_bins]) was taken out."""
    decibels = bias * 20 / np.log(10)
    return (
        f"On the {n_clips} training clips the decoded sound lay {float(decibels.mean()):.1f} dB below the originals "
        f"(from {float(decibels.min()):.1f} to {float(decibels.max()):.1f} dB over frequency); this was taken out."
    )


def _raise_level(leave: nn.Linear, bias: Tensor) -> None:
    """Make both parts that a decoder's last layer puts out (see `spectra`) louder by nepers for each bin, [n_bins]."""
    log_magnitude, _, log_noise = leave.bias.data.chunk(3)
    for part in (log_magnitude, log_noise):  # views: the layer itself changes
        part += bias.to(part)


def _band_energy(codec: FourierCodec | PatchCodec, clips: Tensor, edges: np.ndarray) -> Tensor:
    """Return the mean square of a clip [1, n_samples] in each band, float32 [n_bands]."""
    config, window = codec.config, torch.hann_window(codec.config.n_fft, device=clips.device)
    spectra = frame_spectra(clips, window, config.hop, config.n_bins)
    power = spectra[0].abs().square().mean(0).cpu() / window.square().sum().cpu()
    power = power * 2 / config.n_fft  # both halves of the spectrum
    return torch.stack([power[low:high].sum() for low, high in pairwise(edges)])
