"""Setting a codec's level: a bias put in is found and taken out, band by band, and silence teaches nothing."""

import numpy as np
import pytest
import torch
from fakes.codecs import TOY, TOY_SEANET, noise

from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.seanet import SeanetCodec
from envsound.codec.training.calibration import band_edges, calibrate, level_bias, set_level


class Perfect(FourierCodec):
    """A codec that gives back what it hears, times a gain for each bin."""

    def __init__(self, gain: torch.Tensor | float = 1.0):
        super().__init__(TOY)
        self.gain = gain

    def encode(self, clips):
        return self.spectrum(clips)

    def decode(self, codes):
        return self._istft(codes * self.gain)


def test_bands_cover_every_bin_once():
    edges = band_edges(Perfect())
    assert edges[0] == 0 and edges[-1] == FourierConfig().n_bins
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_a_gain_is_found_as_its_logarithm(gain):
    bias = level_bias(Perfect(gain), [noise(24_000), noise(24_000, 1)])
    assert bias.shape == (FourierConfig().n_bins,)
    torch.testing.assert_close(bias, torch.full_like(bias, -float(np.log(gain))), atol=0.01, rtol=0)


def test_a_tilt_is_found_where_it_is():
    n_bins = FourierConfig().n_bins
    gain = torch.ones(n_bins)
    gain[n_bins // 2 :] = 0.5
    bias = level_bias(Perfect(gain), [noise(24_000)])
    assert bias[: n_bins // 4].abs().max() < 0.02
    assert bias[-n_bins // 4 :].mean() == pytest.approx(np.log(2), abs=0.02)


def test_quiet_clips_do_not_count():
    loud, silent = noise(24_000), np.zeros(24_000, np.float32)
    torch.testing.assert_close(level_bias(Perfect(0.5), [loud, silent]), level_bias(Perfect(0.5), [loud]))
    assert (level_bias(Perfect(0.5), [silent]) == 0).all()


def test_calibration_moves_magnitude_and_noise_and_leaves_the_phase():
    codec = Perfect(0.5)
    before = codec.decoder.leave.bias.data.clone().chunk(3)
    bias = calibrate(codec, [noise(24_000)])
    after = codec.decoder.leave.bias.data.chunk(3)
    torch.testing.assert_close(after[0] - before[0], bias)
    assert torch.equal(after[1], before[1])
    torch.testing.assert_close(after[2] - before[2], bias)


def test_it_says_what_was_taken_out_and_leaves_other_generators_alone():
    assert "lay 6.0 dB below" in set_level(Perfect(0.5), [noise(24_000)])
    seanet = SeanetCodec(TOY_SEANET)
    before = {name: value.clone() for name, value in seanet.state_dict().items()}
    assert "seanet" in set_level(seanet, [noise(24_000)])
    assert all(torch.equal(value, before[name]) for name, value in seanet.state_dict().items())
