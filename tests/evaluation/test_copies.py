"""Copies of training clips are found however they are disguised, and new recordings are not taken for copies."""

import numpy as np
import pytest
import soxr

import envsound
from envsound.base.errors import InputError
from envsound.evaluation.copies import Coded, TrainedCodes, codings, copies_table, measure_copies, sounding_columns

RATE, SECONDS = 24_000, 3.0
N = 4  # copies of each kind
CODES = np.random.default_rng(0).integers(0, 50, (3, 4, 30))


@pytest.fixture(scope="module")
def codec():
    return envsound.load_codec(device="cpu")


def scene(seed: int) -> np.ndarray:
    """Thirty tones and bursts of noise at random times, pitches and levels, which no other seed has."""
    rng, time = np.random.default_rng(seed), np.arange(round(SECONDS * RATE)) / RATE
    clip = 1e-3 * rng.standard_normal(len(time))
    for _ in range(30):
        since, pitch = time - rng.uniform(-0.1, SECONDS), 100 * 80 ** rng.random()
        kind = np.sin(2 * np.pi * pitch * time) if rng.random() < 0.7 else rng.standard_normal(len(time))
        clip += 10 ** -rng.random() * kind * np.exp(-np.maximum(since, 0) / rng.uniform(0.03, 0.3)) * (since > 0)
    return (0.5 * clip / np.abs(clip).max()).astype(np.float32)


def faster(clip: np.ndarray) -> np.ndarray:
    return soxr.resample(clip, 1.03 * RATE, RATE, quality="HQ").astype(np.float32)


@pytest.fixture(scope="module")
def training() -> dict[str, np.ndarray]:
    """Thirty clips, and of each a version that is 3% faster and one without low frequencies."""
    clips = {f"{seed}": scene(seed) for seed in range(30)}
    dull = {f"{name} high": 0.5 * np.diff(clip, prepend=0).astype(np.float32) for name, clip in clips.items()}
    return clips | dull | {f"{name} fast": faster(clip) for name, clip in clips.items()}


def montage(training: dict[str, np.ndarray], seed: int) -> np.ndarray:
    rng, atoms = np.random.default_rng(seed), []
    for name in rng.permutation([name for name in training if " " not in name])[:3]:
        start = rng.integers(0, len(training[name]) - RATE)
        atoms.append(training[name][start : start + RATE])
    return np.concatenate(atoms)


def late(clip: np.ndarray) -> np.ndarray:
    return np.pad(clip, (round(0.027 * RATE), 0))[: len(clip)]


DISGUISES = {
    "as it is": lambda training, seed: training[f"{seed}"],
    "27 ms late": lambda training, seed: late(training[f"{seed}"]),
    "3% faster": lambda training, seed: faster(training[f"{seed}"]),
    "-3 dB": lambda training, seed: training[f"{seed}"] * np.float32(10 ** (-3 / 20)),
    "a version": lambda training, seed: training[f"{seed} high"],
    "montage": montage,
}


@pytest.fixture(scope="module")
def measured(codec, training, tmp_path_factory):
    """The two tables of held-out clips, new ones, and every disguise."""
    trained = [codings(clip, codec)[0] for clip in training.values()]

    def side(clips) -> list[Coded]:
        return [Coded(str(number), "", codings(clip, codec)) for number, clip in enumerate(clips)]

    sides = {"real": side(map(scene, range(100, 120))), "new": side(map(scene, range(200, 206)))}
    sides |= {name: side([make(training, seed) for seed in range(N)]) for name, make in DISGUISES.items()}
    return measure_copies(sides, trained, list(training), codec, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", DISGUISES)
def test_planted_copies_are_found(measured, name):
    assert measured[1].set_index("side").loc[name, "n_copies"] == N


def test_recordings_never_heard_before_are_no_copies(measured):
    table = measured[1].set_index("side")
    assert table.loc["real", "n_copies"] == 0 == table.loc["new", "n_copies"]
    assert table.loc["new", "share_median"] < 0.3 < table.loc["27 ms late", "share_median"]


def test_clips_beyond_every_real_one_are_named_and_goals_stand_beside_the_model_alone(measured):
    rows, table = measured
    assert rows.groupby("side")["beyond"].sum().to_dict() == table.set_index("side")["n_copies"].to_dict()
    named = copies_table(rows.replace({"side": {"new": "generated"}}), 18.75).set_index("side")
    assert named["share_median_goal"].dropna().to_dict() == {"generated": named.loc["real", "share_median"] + 0.02}
    assert named["run_p90_s_goal"].dropna().to_dict() == {"generated": 8 / 18.75}


def test_what_was_found_is_found_again_in_the_store(codec, training, tmp_path, monkeypatch):
    trained = [codings(clip, codec)[0] for clip in list(training.values())[:3]]
    sides = {"real": [Coded("a", "", [trained[0]])], "generated": [Coded("b", "", [trained[1]])]}
    first, _ = measure_copies(sides, trained, ["x", "y", "z"], codec, tmp_path)
    monkeypatch.setattr(TrainedCodes, "find", None)
    again, _ = measure_copies(sides, trained, ["x", "y", "z"], codec, tmp_path)
    assert again.equals(first) and first["share_of"].tolist() == ["x", "y"]


def test_the_version_that_was_copied_is_named(measured, training):
    rows = measured[0].set_index(["side", "clip"])
    for seed in range(N):
        name = f"{seed}"
        assert set(rows.loc[("as it is", str(seed)), ["share_of", "run_of", "nearest"]]) == {name}
        assert rows.loc[("3% faster", str(seed)), "share_of"] == f"{name} fast"


def test_share_and_run_are_those_of_the_best_shift():
    trained = TrainedCodes(list(CODES), 50, 40)
    clip = np.full((4, 40), 51 - 1)
    clip[:, 5:35] = CODES[1]
    clip[:2, 20] = 49 - CODES[1][:2, 20]  # two of four codes of one column: a run of 15 and one of 14
    heard = np.zeros(40, dtype=bool)
    heard[5:35] = True
    found = trained.find(clip, heard)
    equal = (clip[:, 5:35] == CODES[1]).sum()
    assert (found.run, found.run_of, found.share_of) == (15, 1, 1) and found.share == pytest.approx(equal / 120)
    heard[10] = False
    assert trained.find(clip, heard).run == 14
    assert trained.find(clip, np.zeros(40, dtype=bool))[::2] == (0.0, 0)


def test_a_search_agrees_with_looking_at_every_shift():
    rng = np.random.default_rng(1)
    clips = [rng.integers(0, 3, (4, n)) for n in (9, 14, 5)]
    codes, heard = rng.integers(0, 3, (4, 11)), rng.random(11) < 0.8
    equal, runs = [], []
    for clip in clips:
        for shift in range(-10, clip.shape[1]):
            places = np.arange(11) + shift
            inside = (places >= 0) & (places < clip.shape[1]) & heard
            same = (clip[:, places.clip(0, clip.shape[1] - 1)] == codes) & inside
            equal.append(same.sum())
            runs.append(max(map(len, "".join("x" if one else " " for one in same.sum(0) >= 3).split()), default=0))
    found = TrainedCodes(clips, 3, 11).find(codes, heard)
    assert found.share == pytest.approx(max(equal) / (4 * 20)) and found.run == max(runs)


def test_silence_copies_nothing(codec):
    for level in (0.0, 1e-4):
        hiss = level * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
        assert not sounding_columns(codings(hiss, codec)[0], codec).any()
    assert sounding_columns(codings(30 * hiss, codec)[0], codec).all()


def test_what_cannot_be_compared_is_refused(codec):
    with pytest.raises(InputError, match="two versions"):
        measure_copies({"real": [Coded("a", "", list(CODES))]}, [CODES[0]], ["a"], codec)
    with pytest.raises(InputError, match="held-out"):
        measure_copies({"generated": []}, list(CODES), ["a", "b", "c"], codec)
    with pytest.raises(InputError, match="no clip"):
        TrainedCodes([], 50, 40)
    with pytest.raises(InputError, match="20 at most"):
        TrainedCodes(list(CODES), 50, 20).find(CODES[0], np.ones(30, dtype=bool))
