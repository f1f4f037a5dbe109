"""Entropies and cross-entropies of codes, on sources whose entropy is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.studies.audit.code_measures import (
    STRENGTHS,
    Guesser,
    best_strength,
    check_clips,
    code_counts,
    entropy_bits,
    guessed_bits,
    halves,
    take_frames,
)

SIZE = 16  # of the codebook


def clips(n: int, n_frames: int = 400, seed: int = 0, n_levels: int = 2, size: int = SIZE) -> list[np.ndarray]:
    """Independent, evenly distributed codes."""
    return list(np.random.default_rng(seed).integers(0, size, (n, n_levels, n_frames), dtype=np.int16))


def chain(n: int, n_frames: int, stay: float, seed: int) -> list[np.ndarray]:
    """Codes of one level that stay with a probability and else jump anywhere."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        codes = rng.integers(0, SIZE, n_frames)
        for place in np.flatnonzero(rng.random(n_frames) < stay):
            codes[place] = codes[place - 1] if place else codes[0]
        made.append(codes[None])
    return made


# Entropy


def test_entropy_of_known_counts():
    assert entropy_bits(np.full(8, 1e9)) == pytest.approx(3)
    assert entropy_bits(np.array([5, 0, 0])) == 0
    assert entropy_bits(np.array([1, 1, 0, 0])) == pytest.approx(
        1 + 1 / (4 * np.log(2))
    )  # two codes seen, twice in all
    assert np.isnan(entropy_bits(np.zeros(4)))
    assert entropy_bits(np.array([[4, 4], [8, 0]])).tolist() == [1, 0]


def test_the_correction_takes_away_most_of_what_a_small_count_leaves_out():
    counts = np.random.default_rng(0).multinomial(300, np.full(64, 1 / 64), 200)
    shares = counts / 300
    uncorrected = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1)
    assert 6 - uncorrected.mean() > 0.1 and abs(6 - entropy_bits(counts).mean()) < 0.04


def test_entropy_is_never_above_that_of_an_even_distribution():
    assert (entropy_bits(np.random.default_rng(0).multinomial(20, np.full(8, 1 / 8), 100)) <= 3).all()


def test_codes_are_counted_by_clip_and_level():
    counts = code_counts([np.array([[0, 0, 2], [1, 1, 1]], dtype=np.int16)], 4)
    assert counts.tolist() == [[[2, 0, 1, 0], [0, 3, 0, 0]]]


# Guessing


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from(STRENGTHS))
def test_probabilities_add_up_to_one_after_every_context(seed, n, strength):
    contexts, codes = np.random.default_rng(seed).integers(0, 5, (2, n))
    guesser = Guesser(contexts, codes, 5)
    every = np.arange(5)
    assert (2 ** -guesser.bits_alone(every)).sum() == pytest.approx(1)
    for context in every:
        assert (2 ** -guesser.bits(np.full(5, context), every, strength)).sum() == pytest.approx(1)


def test_a_context_never_seen_falls_back_to_how_often_codes_occur():
    guesser, two = Guesser(np.array([0, 0, 1]), np.array([2, 2, 3]), 6), np.array([2])
    assert guesser.bits(np.array([5]), two, 4.0) == pytest.approx(guesser.bits_alone(two))
    assert guesser.bits(np.array([0]), two, np.inf) == guesser.bits_alone(two)
    assert guesser.bits(np.array([0]), two, 4.0) == pytest.approx(-np.log2((2 + 4 * 2.5 / 6) / (2 + 4)))


def test_a_context_that_says_nothing_costs_nothing_however_little_was_seen():
    bits = guessed_bits(clips(6, 50, seed=1, size=256), clips(6, 50, seed=2, size=256), 256)
    for kind, level in (("previous", 0), ("previous", 1), ("above", 1)):
        assert bits[kind][:, level].mean() == pytest.approx(bits["alone"][:, level].mean(), abs=0.05)


def test_the_strength_is_small_where_contexts_tell_and_infinite_where_they_do_not():
    certain = [(codes[0, :-1], (codes[0, :-1] + 1) % SIZE) for codes in clips(10)]
    assert best_strength(certain, SIZE) == STRENGTHS[0]
    unrelated = [(codes[0], codes[1]) for codes in clips(10)]
    assert best_strength(unrelated, SIZE) > 1000 and best_strength(certain[:1], SIZE) == np.inf


def test_independent_codes_are_not_guessed_and_cost_their_entropy():
    bits = guessed_bits(clips(40, seed=1), clips(20, seed=2), SIZE)
    assert bits["alone"].mean(0) == pytest.approx([4, 4], abs=0.02)
    assert (bits["previous"].mean(0) > bits["alone"].mean(0) - 0.01).all()
    assert bits["above"][:, 1].mean() > 3.95 and np.isnan(bits["above"][:, 0]).all()


def test_a_chain_costs_its_entropy_rate():
    stay = 0.8
    bits = guessed_bits(chain(40, 500, stay, 1), chain(20, 500, stay, 2), SIZE)
    again, other = stay + (1 - stay) / SIZE, (1 - stay) / SIZE
    rate = -again * np.log2(again) - (SIZE - 1) * other * np.log2(other)
    assert bits["previous"].mean() == pytest.approx(rate, abs=0.08) and bits["alone"].mean() > 3.9


def test_a_level_that_follows_from_the_one_above_costs_next_to_nothing():
    permuted = np.random.default_rng(0).permutation(SIZE)
    fitted, measured = ([np.stack([c[0], permuted[c[0]]]) for c in clips(20, seed=seed)] for seed in (1, 2))
    bits = guessed_bits(fitted, measured, SIZE)
    assert bits["above"][:, 1].mean() < 0.1 and bits["previous"][:, 1].mean() > 3.9


def test_the_code_after_is_guessed_and_not_the_one_before():
    # 0 and 1 lead to 2 alike: what follows is certain, what came before is not
    codes = np.random.default_rng(0).integers(0, 2, 400)
    codes[1::2] = 2
    bits = guessed_bits([codes[None, :200], codes[None, 200:]], [np.array([[0, 2]]), np.array([[2, 0]])], 3)
    assert bits["previous"][0, 0] < 0.1 and bits["previous"][1, 0] == pytest.approx(1, abs=0.15)


def test_a_clip_of_one_frame_has_no_value():
    bits = guessed_bits(clips(4), [np.array([[1], [2]], dtype=np.int16)], SIZE)
    assert all(np.isnan(values).all() for values in bits.values())


# Splitting and checking


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40).filter(lambda g: len(set(g)) > 1), st.integers(0, 99))
def test_groups_are_never_split_and_both_sides_have_clips(groups, seed):
    fitted = halves(groups, seed)
    sides = [{group for group, fit in zip(groups, fitted, strict=True) if fit == side} for side in (True, False)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]
    assert (fitted == halves(groups, seed)).all()


def test_about_half_of_the_clips_are_fitted_to():
    assert halves(range(100), 0).sum() == 50
    assert halves(list(range(5)) * 20, 0).sum() in (40, 60)
    assert not (halves(range(100), 0) == halves(range(100), 1)).all()
    with pytest.raises(InputError, match="at least two"):
        halves([1, 1, 1], 0)


def test_exactly_so_many_frames_are_taken_from_clips_in_a_drawn_order():
    made = [np.full((2, 10), place) for place in range(8)]
    taken = take_frames(made, 35, 0)
    assert [clip.shape[1] for clip in taken] == [10, 10, 10, 5]
    places = [int(clip[0, 0]) for clip in taken]
    assert len(set(places)) == 4 and places != [0, 1, 2, 3]
    assert sum(clip.shape[1] for clip in take_frames(made, 500, 0)) == 80


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "no codes"),
        ([np.zeros((2, 3), int), np.zeros((1, 3), int)], "expected int"),
        ([np.zeros((2, 3))], "expected int"),
        ([np.zeros(3, int)], "speech"),
        ([np.full((2, 3), 16)], "expected 0 to 15"),
        ([np.full((2, 3), -1)], "expected 0 to 15"),
    ],
)
def test_codes_of_another_shape_or_size_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        check_clips(wrong, SIZE, "speech")
