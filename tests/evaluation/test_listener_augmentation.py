"""Changes of spectra that are off unless asked for: random filters and transposition."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envsound.base.errors import InputError
from envsound.evaluation.listeners.training import N_EQUALISED, ListenerTraining, Sampler

PLAIN = ListenerTraining(mixup=0.0, gain_db=0.0, n_masks=0)
BANDS = 26  # with N_EQUALISED points every fifth band is one


def sampler(spectrum: torch.Tensor, training: ListenerTraining) -> Sampler:
    return Sampler([spectrum, spectrum], np.arange(2), 2, spectrum.shape[1], training)


def test_they_are_off_by_default_and_take_no_random_number():
    one = sampler(torch.rand(BANDS, 4), PLAIN)
    one.batch(np.array([0, 1]))
    expected = np.random.default_rng(PLAIN.seed)
    for _ in range(2):
        expected.integers(4)  # where each window starts
    expected.uniform(0.0, 0.0, 2)  # the gains
    assert one.rng.integers(10**9) == expected.integers(10**9)


def test_filters_are_lines_between_levels_within_bounds_and_alike_in_every_frame():
    one = sampler(torch.ones(BANDS, 8), replace(PLAIN, equaliser_db=6.0))
    spectra = torch.cat([one.batch(np.array([0, 1]))[0] for _ in range(100)])
    assert (spectra == spectra[:, :, :1]).all()
    levels_db = 20 * spectra[:, :, 0].log10()
    assert -6.001 <= levels_db.min() < -5.5 and 5.5 < levels_db.max() <= 6.001
    points = torch.arange(0, BANDS, (BANDS - 1) // (N_EQUALISED - 1))
    bends = levels_db.diff(n=2, dim=1).abs()
    inner = [band for band in range(1, BANDS - 1) if band not in points]
    assert bends[:, [band - 1 for band in inner]].max() < 1e-3 and bends.max() > 0.5


def test_transposition_moves_bands_no_further_than_asked_and_repeats_the_outermost():
    ramp = torch.arange(1.0, BANDS + 1)[:, None].expand(BANDS, 4)
    one = sampler(ramp, replace(PLAIN, transposed_bands=2))
    moved = {tuple(one.batch(np.array([0]))[0][0, :, 0].int().tolist()) for _ in range(100)}
    bands = np.arange(BANDS)
    assert moved == {tuple((np.clip(bands - up, 0, BANDS - 1) + 1).tolist()) for up in (-2, -1, 0, 1, 2)}


@pytest.mark.parametrize("name", ["equaliser_db", "transposed_bands"])
def test_negative_changes_are_refused(name):
    with pytest.raises(InputError, match=name):
        ListenerTraining(**{name: -1})
