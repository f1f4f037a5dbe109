"""Distances between sets of points: closed forms on Gaussians, other implementations on the same vectors."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from fakes.sounds import as_sources
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

from envsound.base.errors import InputError
from envsound.evaluation.spaces import distances as module
from envsound.evaluation.spaces.distances import (
    DISTANCE_COLUMNS,
    distance_table,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    measure_distances,
    median_distance,
    precision_recall,
)
from envsound.evaluation.spaces.embeddings import Embedded, NotRun, StatisticsEmbedding

RATE = 16_000  # Hz


def gaussian(n: int, dim: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)) * scale + shift


@pytest.mark.parametrize(("n_a", "n_b", "dim"), [(80, 60, 10), (200, 90, 3), (2, 2, 1), (8, 6, 30)])
def test_frechet_agrees_with_the_root_of_the_product_of_covariances(n_a, n_b, dim):
    a, b = gaussian(n_a, dim, 0) @ gaussian(dim, dim, 5), gaussian(n_b, dim, 1, 1.5, 0.5)
    cov = [np.atleast_2d(np.cov(points.T)) for points in (a, b)]
    shared = np.sqrt(np.maximum(np.real(np.linalg.eigvals(cov[0] @ cov[1])), 0)).sum()
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov[0] + cov[1]) - 2 * shared
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 2**31), st.integers(2, 6), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_frechet_has_the_symmetries_of_a_distance(seed, dim, scale):
    a, b = gaussian(12, dim, seed), gaussian(5, dim, seed + 1, 2.0, 1.0)
    value, turn = frechet_distance(a, b), ortho_group.rvs(dim, random_state=seed)
    assert frechet_distance(b, a) == pytest.approx(value)
    assert frechet_distance(a @ turn + 3, b @ turn + 3) == pytest.approx(value, rel=1e-6)
    assert frechet_distance(scale * a, scale * b) == pytest.approx(scale**2 * value)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)


def test_extrapolation_removes_the_bias_of_few_clips(monkeypatch):
    monkeypatch.setattr(module, "N_DRAWS", 2)
    dim, found = 16, []
    true = dim * (0.2**2 + 0.1**2)
    for seed in range(5):
        a, b = gaussian(160, dim, seed), gaussian(160, dim, seed + 100, 1.2, 0.1)
        lines = [frechet_infinity(a, b, seed, both)[0] for both in (False, True)]
        found.append([frechet_distance(a, b), *lines])
    plain, one, both = np.mean(found, axis=0) - true
    assert plain > 1.3 * one > 0  # the reference's own bias is left
    assert abs(both) < 0.3 * one


@pytest.mark.parametrize("both", [False, True])
def test_the_line_goes_through_15_sizes_from_half_of_the_clips_to_all(monkeypatch, both):
    sizes, real = [], module.frechet_distance
    monkeypatch.setattr(module, "frechet_distance", lambda a, b: sizes.append((len(a), len(b))) or real(a, b))
    a, b = gaussian(60, 4, 0), gaussian(27, 4, 1, 1.5)
    value, straight = frechet_infinity(a, b, 3, both)
    assert [n for _, n in sizes] == [n for n in range(13, 28) for _ in range(module.N_DRAWS)] and straight <= 1
    assert {n for n, _ in sizes} == (set(range(13, 28)) if both else {60})
    assert value == frechet_infinity(a, b, 3, both)[0] != frechet_infinity(a, b, 4, both)[0]
    with pytest.raises(InputError, match="26 clips: expected enough for 15 different sizes from 13 on"):
        frechet_infinity(a, b[:26])


def test_kernel_distance_agrees_with_another_implementation_at_the_bandwidth_of_the_reference():
    a, b = gaussian(30, 5, 0), gaussian(20, 5, 1, 1.3, 0.4)
    kernel = partial(rbf_kernel, gamma=1 / (2 * median_distance(a) ** 2))
    within = [(kernel(x).sum() - len(x)) / (len(x) * (len(x) - 1)) for x in (a, b)]
    found = kernel_distance(a, b, n_resamples=50)
    assert found["kad"] == pytest.approx(100 * (sum(within) - 2 * kernel(a, b).mean()))
    assert found["kad_low"] < found["kad"] < found["kad_high"]
    assert median_distance(np.array([[0.0], [1.0], [3.0]])) == 2
    with pytest.raises(InputError, match="median distance of the 4 points is 0"):
        kernel_distance(np.ones((4, 2)), gaussian(5, 2, 0))


def test_resampling_does_not_move_the_estimate_and_a_seed_repeats_it(monkeypatch):
    a, b = gaussian(15, 3, 0), gaussian(15, 3, 1, shift=0.8)
    assert kernel_distance(a, b, 5, 60) == kernel_distance(a, b, 5, 60) != kernel_distance(a, b, 6, 60)
    monkeypatch.setattr(module, "INTERVAL", (50, 50))
    found = kernel_distance(a, b, n_resamples=2000)
    assert found["kad_low"] == pytest.approx(found["kad"], rel=0.1)  # pairs of a clip with itself would add a third
    monkeypatch.setattr(module, "MOST_CLIPS", 29)
    with pytest.raises(InputError, match="15 and 15 clips: expected at most 29"):
        kernel_distance(a, b)


CLASSES = [name for name in "abcd" for _ in range(8)]


def balanced(seed: int) -> np.ndarray:
    """Eight points of each of four classes, which are far apart."""
    return gaussian(32, 3, seed) + 6 * np.eye(4, 3)[np.repeat(range(4), 8)]


def test_classes_in_fixed_numbers_do_not_pull_the_kernel_distance_below_zero():
    pairs = [(balanced(seed), balanced(seed + 500)) for seed in range(100)]
    blind = np.array([kernel_distance(a, b, n_resamples=2)["kad"] for a, b in pairs])
    values = np.array([kernel_distance(a, b, n_resamples=2, classes=(CLASSES, CLASSES))["kad"] for a, b in pairs])
    assert abs(values.mean()) < 3 * values.std() / 10 and blind.mean() < -5 * blind.std() / 10


def test_chance_and_p_come_from_random_splits_that_keep_the_classes_as_resamples_do():
    found = [kernel_distance(balanced(s), balanced(s + 500), s, 99, classes=(CLASSES, CLASSES)) for s in range(40)]
    assert 0.2 < np.mean([one["kad_p"] < 0.5 for one in found]) < 0.8
    assert 0.85 <= np.mean([one["kad"] < one["kad_chance"] for one in found]) <= 1
    assert np.mean([one["kad_low"] < 0 < one["kad_high"] for one in found]) > 0.8
    one, blind = found[0], kernel_distance(balanced(0), balanced(500), 0, 99)
    assert one["kad_chance"] < 0.7 * blind["kad_chance"]
    assert one["kad_high"] - one["kad_low"] < 0.7 * (blind["kad_high"] - blind["kad_low"])
    apart = kernel_distance(gaussian(20, 3, 0), gaussian(20, 3, 1, shift=1.5), n_resamples=199)
    assert apart["kad_p"] == pytest.approx(1 / 200) and apart["kad"] > apart["kad_chance"] and apart["kad_low"] > 0


def test_extrapolation_takes_the_classes_in_proportion(monkeypatch):
    monkeypatch.setattr(module, "N_DRAWS", 4)
    found = []
    for seed in range(6):
        a, b = (np.concatenate([balanced(seed + start) for start in (0, 50)]) for start in (0, 500))
        found.append([frechet_infinity(a, b, seed, True, classes)[0] for classes in (None, (CLASSES * 2,) * 2)])
    blind, true = np.mean(found, axis=0)
    assert abs(true) < 0.3 * abs(blind) and blind < 0


def test_a_set_covers_itself_and_a_forgotten_half_costs_recall_and_not_precision():
    a = gaussian(20, 3, 0)
    assert [precision_recall(a, a)[name] for name in ("precision", "recall")] == [1, 1]
    far = precision_recall(a, a + 100)
    assert (far["precision"], far["recall"], far["precision_low"]) == (0, 0, 0) and 0 < far["precision_high"] < 0.2
    halves = np.concatenate([gaussian(20, 2, 0), gaussian(20, 2, 1, shift=50)])
    found = precision_recall(halves, gaussian(30, 2, 2, 0.5))
    assert found["precision"] == 1 and found["recall"] <= 0.5
    swapped = precision_recall(gaussian(30, 2, 2, 0.5), halves)
    assert swapped["recall"] == found["precision"] and swapped["precision"] == found["recall"]


def test_precision_agrees_with_another_search_for_neighbours(monkeypatch):
    a, b = gaussian(40, 4, 0), gaussian(25, 4, 1, 1.4, 0.3)
    radii = NearestNeighbors(n_neighbors=4).fit(a).kneighbors(a)[0][:, 3]
    expected = [any(np.linalg.norm(point - centre) <= r for centre, r in zip(a, radii, strict=True)) for point in b]
    assert 0 < np.mean(expected) < 1
    monkeypatch.setattr(module, "BLOCK", 7)
    assert precision_recall(a, b, k=3)["precision"] == pytest.approx(np.mean(expected))
    for k in (0, 25):
        with pytest.raises(InputError, match=f"k={k}"):
            precision_recall(a, b, k)


def test_classes_must_fit_the_points():
    points = balanced(0), balanced(1)
    for measure in (frechet_infinity, kernel_distance):
        with pytest.raises(InputError, match="classes: 32 and 31"):
            measure(*points, classes=(CLASSES, CLASSES[1:]))
    with pytest.raises(InputError, match="fewer than two"):
        kernel_distance(*points, classes=(CLASSES, ["e", *CLASSES[1:]]))


@pytest.mark.parametrize("points", [np.zeros(3), np.zeros((1, 2)), np.zeros((4, 3)), np.full((4, 2), np.nan)])
def test_points_that_cannot_be_compared_are_refused(points):
    for measure in (frechet_distance, frechet_infinity, kernel_distance, precision_recall):
        with pytest.raises(InputError, match="points"):
            measure(gaussian(40, 2, 0), points)


def embedded(points: np.ndarray, categories: list[str] | None = None, name: str = "g") -> Embedded:
    table = pd.DataFrame({"clip": [f"{name}{i}" for i in range(len(points))], "category": categories or "", "fold": 0})
    return Embedded(points, table)


def test_a_table_has_every_side_and_the_classes_that_n_allows():
    names = ["dog"] * 30 + ["rain"] * 6 + ["owl"] * 4
    sides = {name: embedded(gaussian(40, 3, i, shift=i), names, name) for i, name in enumerate(("real", "near", "far"))}
    table = distance_table(sides, "given")
    assert list(table.columns) == DISTANCE_COLUMNS and set(table["embedding"]) == {"given"}
    assert [tuple(row) for row in table[["side", "category"]].to_numpy()] == [
        (side, category) for side in ("near", "far") for category in ("", "dog", "owl", "rain")
    ]
    near, far = (table[table["side"] == side].set_index("category") for side in ("near", "far"))
    for name in ("fad", "fad_infinity", "fad_infinity_both", "kad"):
        assert near.loc["", name] < far.loc["", name]
    assert near.loc["", "precision"] > far.loc["", "precision"] and near.loc["dog", "n"] == 30
    assert near.loc["dog"].notna().sum() > near.loc["rain"].notna().sum() > near.loc["owl"].notna().sum()
    assert near.loc["rain", "note"] == "too few clips for precision_recall, fad, fad_infinity"
    assert near.loc["owl", ["fad", "kad", "precision"]].isna().all()
    assert near.loc["", "note"].startswith("not taken class by class")
    assert (far.loc[["dog", "rain"], "kad_p_adjusted"] >= far.loc[["dog", "rain"], "kad_p"]).all()


def test_clips_on_both_sides_too_many_dimensions_and_equal_points_are_noted():
    points = gaussian(22, 30, 0)
    note = distance_table({"real": embedded(points), "codec": embedded(points + 0.1)}, "given")["note"][0]
    assert "no more clips than dimensions" in note and "has 22 clips of the reference" in note
    table = distance_table({"real": embedded(np.ones((25, 2))), "other": embedded(gaussian(25, 2, 1), name="o")}, "one")
    assert np.isnan(table["kad"][0]) and table["fad"][0] > 0  # without a bandwidth there is no kernel


class Level:
    """An embedding of two numbers."""

    name, content_hash, sample_rate = "level", "", 0

    def embed(self, clips, sample_rate):
        return np.array([[clip.std(), np.abs(clip).max()] for clip in clips])


def test_every_embedding_has_its_rows_and_those_not_run_here_say_so():
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(2_000).astype(np.float32) * level for level in np.linspace(0.01, 0.3, 12)]
    halves = {"real": (sounds[::2], "abcdef"), "generated": (sounds[1::2], "ghijkl")}
    sides = {side: as_sources(clips, RATE, names=list(names)) for side, (clips, names) in halves.items()}
    table = measure_distances(sides, [StatisticsEmbedding(), NotRun("CLAP", "no weights"), Level()], RATE)
    assert list(table["embedding"]) == ["statistics", "CLAP", "level"] and list(table.columns) == DISTANCE_COLUMNS
    assert table["note"][1] == "not run here: no weights" and np.isnan(table["kad"][1])
    assert table["dim"][0] == 168
    tested = table.loc[[0, 2], ["kad_p", "kad_p_adjusted"]]
    assert tested["kad_p_adjusted"].min() == pytest.approx(min(1, 2 * tested["kad_p"].min()))


def test_sides_with_enough_clips_of_the_same_classes_are_taken_class_by_class():
    names = ["dog"] * 20 + ["rain"] * 20
    apart = np.repeat([0.0, 8.0], 20)[:, None]
    sides = {name: embedded(gaussian(40, 2, i) + apart, names, name) for i, name in enumerate(("real", "other"))}
    whole = distance_table(sides, "given", by_class=False)
    assert whole["category"].tolist() == [""] and whole["note"].tolist() == [""]
    blind = distance_table({name: embedded(side.vectors, None, name) for name, side in sides.items()}, "given")
    assert whole["kad"][0] > blind["kad"][0] and whole["kad_chance"][0] < blind["kad_chance"][0]
