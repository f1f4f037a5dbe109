"""What counting makes of hidden codes, against shares made by hand, and a model beside it."""

import math

import numpy as np
import pytest
import torch

from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.codebooks import Codebooks
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.counting import COLUMNS, STAGES, NeighbourBigram, beside_counting
from envsound.systems.soundstorm.objective import unigram_losses

TRAIN = CodeSet([np.array([[0, 1, 0, 2]]), np.array([[3, 3, 1]])], np.array([0, 1]), ["dog", "rain"])
SHAPE = ModelConfig(n_levels=1, codebook_size=4, dim=16, n_layers=1, n_heads=2, conv_kernel=3, n_classes=2)


def cost(codes, hidden, label=0, by_class=True):
    return np.exp(-NeighbourBigram(TRAIN, 4, by_class).costs(np.array(codes), np.array(hidden), label, 0))


def frequency(label, code, by_class=True):
    return np.exp(-unigram_losses(TRAIN, 4, by_class))[label, 0, code]


def test_a_code_after_a_visible_one_follows_witten_and_bell():
    """In the dog's clip 0 is followed twice, by two different codes: by 1 once in four, else by frequency."""
    assert cost([0, 1], [False, True])[1] == pytest.approx((1 + 2 * frequency(0, 1)) / 4)
    assert cost([0, 3], [False, True])[1] == pytest.approx(2 * frequency(0, 3) / 4)


def test_a_code_before_a_visible_one_is_told_by_it():
    assert cost([0, 2], [True, False])[0] == pytest.approx((1 + frequency(0, 0)) / 2)


def test_two_visible_neighbours_are_averaged_and_none_leaves_the_frequency():
    left, right = (1 + 2 * frequency(0, 1)) / 4, (1 + frequency(0, 1)) / 2  # 1 before 0, its only predecessor
    assert cost([0, 1, 0], [False, True, False])[1] == pytest.approx((left + right) / 2)
    assert cost([0, 1, 0], [True] * 3) == pytest.approx([frequency(0, code) for code in (0, 1, 0)])


def test_a_neighbour_never_met_tells_nothing_and_classes_may_be_counted_together():
    assert cost([3, 1], [False, True])[1] == pytest.approx(frequency(0, 1))  # no 3 in the dog's clip
    assert cost([3, 1], [False, True], label=1)[1] == pytest.approx((1 + 2 * frequency(1, 1)) / 4)
    together = cost([3, 1], [False, True], by_class=False)[1]
    assert together == pytest.approx((1 + 2 * frequency(0, 1, False)) / 4)


def test_chances_add_up_to_one():
    for neighbour in range(4):
        total = sum(cost([neighbour, code, 0], [False, True, False])[1] for code in range(4))
        left = sum(cost([neighbour, code], [False, True])[1] for code in range(4))
        assert left == pytest.approx(1) and total == pytest.approx(1)


def periodic(n=6) -> CodeSet:
    """Clips that run through four codes again and again, each from a code of its own."""
    clips = [np.stack([(np.arange(40) + start) % 4]).astype(np.int16) for start in range(n)]
    return CodeSet(clips, np.arange(n) % 2, ["dog", "rain"])


@pytest.fixture(scope="module")
def table():
    torch.manual_seed(0)
    loud = torch.tensor([0.0, 0.0, 0.0, -20.0])[None, :, None].expand(1, 4, 3)
    return beside_counting(MaskedConformer(SHAPE), periodic(), periodic(3), 0, Codebooks(loud, n_bands=1))


def test_there_is_a_row_for_each_rate_level_and_kind_of_column(table):
    assert list(table.columns) == COLUMNS and len(table) == 2 * len(STAGES)
    assert table["hidden"].tolist()[::2] == pytest.approx([math.cos(math.pi * u / 2) for u in STAGES])


def test_all_is_masked_first_and_less_and_less_later(table):
    n = table[table["columns"] == "all"]["n_masked"].to_numpy()
    assert n[0] == 3 * 40 and (np.diff(n) < 0).all()


def test_a_quarter_of_the_columns_does_not_sound(table):
    n = table.pivot(index="u", columns="columns", values="n_masked")
    assert n.loc[0.0].tolist() == [120, 90]


def test_where_neighbours_tell_all_the_bigram_knows_and_neither_frequencies_nor_an_untrained_model_do(table):
    assert table["unigram"].to_numpy() == pytest.approx(math.log(4), abs=0.01)
    assert (table["model"] > 1).all()
    bigram = table[table["columns"] == "all"].set_index("u")["bigram"]
    assert bigram[0.0] == pytest.approx(math.log(4), abs=0.01)  # nothing is visible
    assert bigram.is_monotonic_decreasing and bigram[0.75] < 0.4


def test_without_patches_every_column_counts():
    table = beside_counting(MaskedConformer(SHAPE), periodic(), periodic(3), 0)
    assert set(table["columns"]) == {"all"}
