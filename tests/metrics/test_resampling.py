"""The bootstrap over two sides at once."""

import numpy as np
import pytest

from envsound.base.errors import InputError
from envsound.metrics.resampling import two_way_bootstrap


def test_the_interval_is_wider_when_raters_or_items_differ_and_what_was_not_rated_is_left_out():
    def width(grid):
        mean, low, high = two_way_bootstrap(grid, np.random.default_rng(0), 500)
        assert low <= mean <= high
        return high - low

    noise = np.random.default_rng(1).normal(0, 0.1, (10, 10))
    steps = 3 * (np.arange(10) % 2)
    alone, items, raters = (width(5 + noise + more) for more in (0, steps, steps[:, None]))
    assert items > 5 * alone and raters > 5 * alone
    mean, *ends = two_way_bootstrap(np.array([[4.0, np.nan]]), np.random.default_rng(0), 20)
    assert mean == 4 and np.isnan(ends).all()  # one rating has no interval
    with pytest.raises(InputError, match="n_resamples=0"):
        two_way_bootstrap(np.ones((2, 2)), np.random.default_rng(0), 0)
