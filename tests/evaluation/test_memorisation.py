"""Memorisation: copies are found out, new clips are not, and plain sounds do not pass for copies."""

from math import comb

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import noise
from fakes.sounds import CLASSES, sound
from fakes.sources import as_sources
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.data.audio import read_clip
from envsound.evaluation import memorisation as module
from envsound.evaluation.memorisation import (
    LOG_MEL,
    MEMORISATION_COLUMNS,
    NEIGHBOUR_COLUMNS,
    check_control,
    closest_pairs,
    copied_clips,
    level_distances,
    level_map,
    measure_memorisation,
    memorisation_table,
    neighbour_table,
    p_of_nearest,
    write_pairs,
)
from envsound.evaluation.sides import Source
from envsound.evaluation.spaces.embeddings import NotRun, StatisticsEmbedding
from envsound.report.players import pair_players

RATE = 16_000  # Hz
NAMES = list(CLASSES)


def sources(n_each: int, first_seed: int, prefix: str) -> list[Source]:
    names = NAMES * n_each
    sounds = [sound(name, first_seed + i, RATE, 0.5) for i, name in enumerate(names)]
    return as_sources(sounds, RATE, names, names=[f"{prefix}{i}" for i in range(len(names))])


@pytest.fixture(scope="module")
def training():
    return sources(10, 0, "t")


@pytest.fixture(scope="module")
def found(training):
    sides = {"real": sources(7, 1000, "r"), "generated": sources(6, 2000, "g")}
    embeddings = [StatisticsEmbedding(), NotRun("AST", "no weights")]
    return measure_memorisation(sides, training, embeddings, RATE, n_copies=18)


def neighbours(**sides: np.ndarray) -> pd.DataFrame:
    parts = [
        pd.DataFrame({
            "side": side, "space": "one", "clip": [f"{side}{i}" for i in range(len(values))], "category": "",
            "nearest": "t", "nearest_category": "", "distance": values, "relative": values,
        })
        for side, values in sides.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)[NEIGHBOUR_COLUMNS]


# Distance between spectra


def test_shifts_in_time_and_changes_of_level_do_not_matter():
    clip = sound("cry", 1, RATE, 2.0)
    hop = 640  # samples of a frame of the map at this rate
    changed = 0.25 * np.roll(clip, 20 * hop)
    other = sound("cry", 2, RATE, 2.0)
    distances = level_distances([level_map(one, RATE) for one in (changed, other)], [level_map(clip, RATE)])[:, 0]
    assert distances[0] < 0.3 * distances[1]


def test_distances_are_root_mean_squares_in_db_at_the_best_shift():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 60, (2, 32, 9))
    expected = min(np.sqrt(np.mean((a - np.roll(b, shift, axis=1)) ** 2)) for shift in range(9))
    assert level_distances([a], [b])[0, 0] == pytest.approx(expected)
    assert level_distances([b], [a])[0, 0] == pytest.approx(expected)
    assert level_distances([a], [np.roll(a, 4, axis=1)])[0, 0] == 0
    assert level_distances([np.full((32, 4), 50.0)], [np.full((32, 4), 40.0)])[0, 0] == pytest.approx(10)


def test_what_a_shorter_clip_lacks_counts_as_silence(monkeypatch):
    long, short = np.full((32, 8), 60.0), np.full((32, 4), 60.0)
    expected = [[0, 60 / np.sqrt(2)], [60 / np.sqrt(2), 0]]
    np.testing.assert_allclose(level_distances([long, short], [long, short]), expected, atol=1e-6)
    monkeypatch.setattr(module, "BLOCK", 1)
    np.testing.assert_allclose(level_distances([long, short], [long, short]), expected, atol=1e-6)


def test_maps_lie_between_silence_and_60_db():
    levels = level_map(noise(RATE), RATE)
    assert levels.shape == (32, 32) and levels.max() == pytest.approx(60) and levels.min() >= 0
    assert not level_map(np.zeros(RATE, np.float32), RATE).any()
    assert level_map(np.ones(1, np.float32), RATE).max() == pytest.approx(60)


# Neighbours


def test_the_nearest_training_clip_and_how_far_it_stands_out():
    clips, training = (pd.DataFrame({"clip": list(names), "category": list(names.upper())}) for names in ("ab", "xyz"))
    table = neighbour_table(np.array([[4.0, 2.0, 6.0], [0.0, 0.0, 0.0]]), clips, training, "generated", "one")
    assert list(table.columns) == NEIGHBOUR_COLUMNS
    assert table.loc[0, ["nearest", "nearest_category", "distance"]].tolist() == ["y", "Y", 2.0]
    assert table["relative"].tolist() == [0.5, 0.0]
    with pytest.raises(InputError, match="at least two"):
        neighbour_table(np.ones((2, 1)), clips, training, "generated", "one")


@given(st.integers(1, 30), st.integers(1, 30), st.data())
@settings(max_examples=30, deadline=None)
def test_the_chance_that_the_nearest_are_all_of_one_side(n, m, data):
    k = data.draw(st.integers(0, n))
    assert p_of_nearest(k, n, m) == pytest.approx(comb(n, k) / comb(n + m, k))


# Verdicts


def test_copies_of_training_clips_are_found_out_and_new_clips_are_not(found):
    verdicts = found.table[found.table["side"] != ""].set_index(["side", "space"])["copies_found"]
    assert verdicts["copied"].tolist() == [True, True] and verdicts["generated"].tolist() == [False, False]
    assert set(found.neighbours["space"]) == {LOG_MEL, "statistics"}
    assert list(found.table.columns) == MEMORISATION_COLUMNS
    copied = found.neighbours[found.neighbours["side"] == "copied"]
    assert (copied["distance"] == 0).all() and (copied["clip"] == "copy of " + copied["nearest"]).all()
    check_control(found.table)
    assert found.table.iloc[-1][["space", "note"]].tolist() == ["AST", "not run here: no weights"]


def test_a_few_copies_among_many_new_clips_are_found():
    rng = np.random.default_rng(0)
    held_out, new = rng.uniform(0.5, 1, 80), rng.uniform(0.5, 1, 90)
    mixed = np.concatenate([new, np.full(10, 0.05)])
    table = memorisation_table(neighbours(real=held_out, generated=mixed, clean=new)).set_index("side")
    assert table.loc["generated", "n_nearest"] >= 10 and table.loc["generated", "p_nearest"] < 0.005
    assert table.loc["generated", "p_nearer"] > 0.01
    assert table["copies_found"].to_dict() == {"generated": True, "clean": False}


def test_the_training_clips_that_flagged_clips_point_at_are_counted_once_each():
    table = neighbours(real=np.array([0.5, 0.6]), generated=np.array([0.1, 0.2, 0.3, 0.5, 0.9]))
    pointed = ["t1", "t1", "t2", "t3", "t4"]  # the last two are no nearer than every held-out clip
    table.loc[table["side"] == "generated", "nearest"] = pointed
    row = memorisation_table(table).iloc[0]
    assert (row["n_nearest"], row["n_distinct"]) == (3, 2)


def test_a_side_that_is_nearer_as_a_whole_is_found():
    rng = np.random.default_rng(1)
    table = memorisation_table(neighbours(real=rng.normal(1, 0.1, 60), generated=rng.normal(0.9, 0.1, 60)))
    assert table["copies_found"][0] and 0.65 < table["nearer"][0] < 0.85 and table["n_nearest_expected"][0] < 1


def test_few_verdicts_are_wrong_when_both_sides_are_alike():
    rng = np.random.default_rng(2)
    table = memorisation_table(neighbours(real=rng.random(40), **{f"side{i}": rng.random(20) for i in range(30)}))
    assert table["copies_found"].mean() < 0.1 and table["p_nearer"].min() < 0.2 < table["p_nearer"].max()


def test_a_plain_sound_near_to_everything_is_no_copy():
    rng = np.random.default_rng(3)
    known = rng.standard_normal((60, 40))
    clips = pd.DataFrame({"clip": [f"c{i}" for i in range(40)], "category": ""})
    training = pd.DataFrame({"clip": [f"t{i}" for i in range(60)], "category": ""})
    parts = []
    for side, points in (("real", rng.standard_normal((40, 40))), ("generated", 0.1 * rng.standard_normal((40, 40)))):
        distances = np.linalg.norm(points[:, None] - known, axis=2)
        parts.append(neighbour_table(distances, clips, training, side, "one"))
    table = memorisation_table(pd.concat(parts))
    assert table["distance"][0] < 0.9 * table["distance_held_out"][0] and not table["copies_found"][0]


def test_a_control_that_passes_stops_everything(found):
    blind = found.table.assign(copies_found=found.table["copies_found"].where(found.table["space"] != LOG_MEL, False))
    with pytest.raises(InputError, match="not found out in log-mel"):
        check_control(blind)
    with pytest.raises(InputError, match="no space at all"):
        check_control(found.table[found.table["side"] != "copied"])


def test_a_clip_that_cannot_be_read_has_no_neighbour_and_none_is_an_error(training):
    def gone(rate):
        raise InputError("gone")

    real, lost = sources(2, 1000, "r"), Source("gone.wav", gone)
    found = measure_memorisation({"real": real, "generated": [lost, *real[:1]]}, training, [], RATE, n_copies=0)
    assert found.neighbours.query("side == 'generated'")["clip"].tolist() == [real[0].name]
    with pytest.raises(InputError, match="generated: no clip can be read"):
        measure_memorisation({"real": real, "generated": [lost]}, training, [], RATE)


def test_held_out_clips_must_be_held_out(training):
    with pytest.raises(InputError, match="t0 is a training clip, too"):
        measure_memorisation({"real": training[:3]}, training, [], RATE)
    with pytest.raises(InputError, match="held_out='real'"):
        measure_memorisation({"generated": training[:3]}, training, [], RATE)
    with pytest.raises(InputError, match="held_out='real'"):
        memorisation_table(neighbours(generated=np.ones(3)))


def test_copies_are_drawn_by_seed_without_repetition(training):
    names = [source.name for source in copied_clips(training, 12, seed=1)]
    assert len(set(names)) == 12 and names == [source.name for source in copied_clips(training, 12, seed=1)]
    assert len(copied_clips(training, 999)) == len(training)
    assert np.array_equal(copied_clips(training, 999)[3].load(RATE), training[3].load(RATE))


# Pairs to hear


def test_the_closest_pairs_come_first_in_each_space(found):
    pairs = closest_pairs(found.neighbours, n=4)
    assert pairs["rank"].tolist() == [1, 2, 3, 4] * 2 and set(pairs["side"]) == {"generated"}
    for space, rows in pairs.groupby("space"):
        of = found.neighbours[(found.neighbours["side"] == "generated") & (found.neighbours["space"] == space)]
        assert rows["relative"].tolist() == sorted(of["relative"])[:4]


def test_both_clips_of_a_pair_can_be_heard_and_older_ones_are_gone(found, training, tmp_path):
    (tmp_path / "old.wav").write_bytes(b"")
    pairs = write_pairs(found.neighbours, sources(6, 2000, "g"), training, tmp_path, RATE, n_pairs=1)
    known = {source.name: source for source in training}
    for row in pairs.itertuples():
        heard = read_clip(tmp_path / row.nearest_file, RATE)
        np.testing.assert_allclose(heard, known[row.nearest].load(RATE), atol=1e-4)
        assert (tmp_path / row.clip_file).is_file()
    assert len(list(tmp_path.glob("*.wav"))) == 2 * len(pairs) == 4
    assert read_csv(tmp_path / "pairs.csv")["relative"].to_numpy() == pytest.approx(pairs["relative"])
    page = pair_players(pairs, tmp_path, tmp_path)
    assert page.count("<audio") == 4 and pairs["clip_file"][0] in page
    assert "<td>a &lt;b&gt;</td>" in pair_players(pairs.assign(space="a <b>"), tmp_path, tmp_path)
    assert "no pair" in pair_players(pairs.iloc[:0], tmp_path)
    with pytest.raises(InputError, match="n_pairs=-1"):
        write_pairs(found.neighbours, [], [], tmp_path, RATE, -1)
