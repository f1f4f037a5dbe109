"""Memorisation: copies are found out, new clips are not, and plain sounds do not pass for copies."""

from math import comb

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import noise
from fakes.sounds import CLASSES, as_sources, sound

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.data.audio import read_clip
from envsound.evaluation import memorisation as module
from envsound.evaluation.memorisation import (
    LOG_MEL,
    MEMORISATION_COLUMNS,
    NEIGHBOUR_COLUMNS,
    check_control,
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


def test_distances_are_root_mean_squares_in_db_at_the_best_shift_of_a_clip_whatever_its_level():
    a, b = np.random.default_rng(0).uniform(0, 60, (2, 32, 9))
    expected = min(np.sqrt(np.mean((a - np.roll(b, shift, axis=1)) ** 2)) for shift in range(9))
    for pair in (([a], [b]), ([b], [a])):
        assert level_distances(*pair)[0, 0] == pytest.approx(expected)
    assert level_distances([a], [np.roll(a, 4, axis=1)])[0, 0] == 0
    assert level_distances([np.full((32, 4), 50.0)], [np.full((32, 4), 40.0)])[0, 0] == pytest.approx(10)
    clip, other = (sound("cry", seed, RATE, 2.0) for seed in (1, 2))
    changed = 0.25 * np.roll(clip, 20 * 640)  # 20 frames of the map at this rate
    distances = level_distances([level_map(one, RATE) for one in (changed, other)], [level_map(clip, RATE)])[:, 0]
    assert distances[0] < 0.3 * distances[1]


def test_maps_lie_between_silence_and_60_db_and_what_a_shorter_one_lacks_counts_as_silence(monkeypatch):
    levels = level_map(noise(RATE), RATE)
    assert levels.shape == (32, 32) and levels.max() == pytest.approx(60) and levels.min() >= 0
    assert not level_map(np.zeros(RATE, np.float32), RATE).any()
    assert level_map(np.ones(1, np.float32), RATE).max() == pytest.approx(60)
    long, short = np.full((32, 8), 60.0), np.full((32, 4), 60.0)
    expected = [[0, 60 / np.sqrt(2)], [60 / np.sqrt(2), 0]]
    np.testing.assert_allclose(level_distances([long, short], [long, short]), expected, atol=1e-6)
    monkeypatch.setattr(module, "BLOCK", 1)
    np.testing.assert_allclose(level_distances([long, short], [long, short]), expected, atol=1e-6)


def test_the_nearest_training_clip_and_how_far_it_stands_out():
    clips, training = (pd.DataFrame({"clip": list(names), "category": list(names.upper())}) for names in ("ab", "xyz"))
    table = neighbour_table(np.array([[4.0, 2.0, 6.0], [0.0, 0.0, 0.0]]), clips, training, "generated", "one")
    assert list(table.columns) == NEIGHBOUR_COLUMNS
    assert table.loc[0, ["nearest", "nearest_category", "distance"]].tolist() == ["y", "Y", 2.0]
    assert table["relative"].tolist() == [0.5, 0.0]
    for k, n, m in ((0, 3, 4), (2, 5, 7), (9, 9, 30)):  # all of the k nearest are among the n
        assert p_of_nearest(k, n, m) == pytest.approx(comb(n, k) / comb(n + m, k))
    with pytest.raises(InputError, match="at least two"):
        neighbour_table(np.ones((2, 1)), clips, training, "generated", "one")


def test_copies_of_training_clips_are_found_out_and_new_clips_are_not(found):
    verdicts = found[1][found[1]["side"] != ""].set_index(["side", "space"])["copies_found"]
    assert verdicts["copied"].tolist() == [True, True] and verdicts["generated"].tolist() == [False, False]
    assert set(found[0]["space"]) == {LOG_MEL, "statistics"}
    assert list(found[1].columns) == MEMORISATION_COLUMNS
    copied = found[0][found[0]["side"] == "copied"]
    assert (copied["distance"] == 0).all() and (copied["clip"] == "copy of " + copied["nearest"]).all()
    check_control(found[1])
    blind = found[1].assign(copies_found=found[1]["copies_found"].where(found[1]["space"] != LOG_MEL, False))
    with pytest.raises(InputError, match="not found out in log-mel"):
        check_control(blind)
    with pytest.raises(InputError, match="no space at all"):
        check_control(found[1][found[1]["side"] != "copied"])
    assert found[1].iloc[-1][["space", "note"]].tolist() == ["AST", "not run here: no weights"]


def test_a_few_copies_among_many_new_clips_are_found():
    rng = np.random.default_rng(0)
    held_out, new = rng.uniform(0.5, 1, 80), rng.uniform(0.5, 1, 90)
    mixed = np.concatenate([new, np.full(10, 0.05)])
    clips = neighbours(real=held_out, generated=mixed, clean=new)
    clips.loc[clips["side"] == "generated", "nearest"] = [f"t{n % 3 if n >= 90 else n}" for n in range(100)]
    table = memorisation_table(clips).set_index("side")
    assert table.loc["generated", "n_nearest"] >= 10 and table.loc["generated", "p_nearest"] < 0.005
    assert table.loc["generated", "p_nearer"] > 0.01
    assert table["copies_found"].to_dict() == {"generated": True, "clean": False}
    clips = clips[(clips["relative"] < 0.1) | (clips["side"] == "real")]
    assert memorisation_table(clips)[["n_nearest", "n_distinct"]].to_numpy().tolist() == [[10, 3]]


def test_a_side_that_is_nearer_as_a_whole_is_found_and_few_verdicts_are_wrong_when_sides_are_alike():
    rng = np.random.default_rng(1)
    table = memorisation_table(neighbours(real=rng.normal(1, 0.1, 60), generated=rng.normal(0.9, 0.1, 60)))
    assert table["copies_found"][0] and 0.65 < table["nearer"][0] < 0.85 and table["n_nearest_expected"][0] < 1
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


def test_a_clip_that_cannot_be_read_has_no_neighbour_and_held_out_clips_must_be_held_out(training):
    def gone(rate):
        raise InputError("gone")

    real, lost = sources(2, 1000, "r"), Source("gone.wav", gone)
    table, _ = measure_memorisation({"real": real, "generated": [lost, *real[:1]]}, training, [], RATE, n_copies=0)
    assert table.query("side == 'generated'")["clip"].tolist() == [real[0].name]
    with pytest.raises(InputError, match="generated: no clip can be read"):
        measure_memorisation({"real": real, "generated": [lost]}, training, [], RATE)
    with pytest.raises(InputError, match="t0 is a training clip, too"):
        measure_memorisation({"real": training[:3]}, training, [], RATE)
    drawn, again, every = (copied_clips(training, n, seed=1) for n in (12, 12, 999))
    assert len({one.name for one in drawn}) == 12 and [one.name for one in drawn] == [one.name for one in again]
    assert len(every) == len(training) and np.array_equal(every[3].load(RATE), training[3].load(RATE))


def test_both_clips_of_the_closest_pairs_can_be_heard_and_older_ones_are_gone(found, training, tmp_path):
    write_pairs(found[0], sources(6, 2000, "g"), training, tmp_path, RATE, n_pairs=3)
    (tmp_path / "mine.wav").write_bytes(b"")
    pairs = write_pairs(found[0], sources(6, 2000, "g"), training, tmp_path, RATE, n_pairs=2)
    (tmp_path / "mine.wav").unlink()  # nobody else did
    assert pairs["rank"].tolist() == [1, 2] * 2 and set(pairs["side"]) == {"generated"}
    nearest = found[0][found[0]["side"] == "generated"].groupby("space")["relative"].nsmallest(2)
    assert pairs["relative"].tolist() == nearest.tolist()
    known = {source.name: source for source in training}
    for row in pairs.itertuples():
        heard = read_clip(tmp_path / row.nearest_file, RATE)
        np.testing.assert_allclose(heard, known[row.nearest].load(RATE), atol=1e-4)
        assert (tmp_path / row.clip_file).is_file()
    assert len(list(tmp_path.glob("*.wav"))) == 2 * len(pairs) == 8
    assert read_csv(tmp_path / "pairs.csv")["relative"].to_numpy() == pytest.approx(pairs["relative"])
    page = pair_players(pairs, tmp_path, tmp_path)
    assert page.count("<audio") == 8 and pairs["clip_file"][0] in page
    assert "<td>a &lt;b&gt;</td>" in pair_players(pairs.assign(space="a <b>"), tmp_path, tmp_path)
    assert "no pair" in pair_players(pairs.iloc[:0], tmp_path)
    with pytest.raises(InputError, match="n_pairs=-1"):
        write_pairs(found[0], [], [], tmp_path, RATE, -1)
