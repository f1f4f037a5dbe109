"""Judges: what each is taught, the decoys, the ladder, and the log of readings; aiSFX is a stand-in on its own path."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes.aisfx import make_package
from fakes.codecs import noise, toy_model
from fakes.notebooks import run_cells
from fakes.sounds import CLASSES, sound

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_json, write_wav
from envsound.codec import load_codec
from envsound.codec.codes import encode_recordings
from envsound.codec.stored import save_codec
from envsound.data.recordings import load_recordings
from envsound.evaluation import decoys, judges, ladder, readings
from envsound.evaluation.judges import CLOSED, CNN, NONE, A, B, Judge
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.evaluation.sides import REAL
from envsound.evaluation.spaces.embeddings import Embedded, NotRun
from envsound.run.publish import publish_any

ROOT = Path(__file__).parents[2]
RATE = 24_000
TIMED = ["cry", "tick"]
FEW = ListenerTraining(n_epochs=1)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """Two clips of each of three classes in each of three folds, their codes, a codec, aiSFX's stand-in, caches."""
    folder, rows = tmp_path_factory.mktemp("coded"), []
    for number, category in enumerate(CLASSES * 6):
        name, fold = f"{category}{number:02d}.wav", number // 6 + 1
        write_wav(folder / "audio" / name, sound(category, number, RATE), RATE)
        rows.append((name, fold, CLASSES.index(category), category, True))
    columns = ["filename", "fold", "target", "category", "esc10"]
    write_csv(folder / "meta" / "esc50.csv", pd.DataFrame(rows, columns=columns))
    save_codec(folder / "toy.safetensors", toy_model())
    codec = load_codec(str(folder / "toy.safetensors"), device="cpu")
    clips = encode_recordings(load_recordings("folder", str(folder)), codec, folder / "codes")
    return SimpleNamespace(folder=folder, rows=clips, codec=codec, package=make_package(folder / "judge"))


# Teaching


def made_points(spread: float, n: int = 40) -> Embedded:
    rng, names = np.random.default_rng(0), np.resize(["dog", "rain"], n)
    vectors = np.c_[np.where(names == "dog", 1, -1), np.zeros(n)] + rng.normal(0, spread, (n, 2))
    return Embedded(vectors, pd.DataFrame({"clip": "", "category": names, "fold": np.arange(n) % 4 // 2 + 2}))


def test_a_probe_learns_what_can_be_separated_and_its_penalty_is_chosen_between_folds():
    points = made_points(0.1)
    embedding = SimpleNamespace(embed=lambda clips, rate: np.stack(clips), sample_rate=8, content_hash="e")
    probe = judges.Probe(embedding, points, judges.choose_strength(points))
    assert probe.predict([np.array([1.0, 0]), np.array([-1.0, 0])], 8) == ["dog", "rain"] and probe.strength == 1e-4
    assert judges.choose_strength(points, by_one_fold=True) == 1e-4  # the strongest penalty that is as good
    assert probe.content_hash != judges.Probe(embedding, made_points(0.2), 1e-4).content_hash
    one = Embedded(points.vectors[:4], points.clips[:4].assign(fold=2, category="dog"))
    for call in (lambda: judges.choose_strength(one), lambda: judges.Probe(embedding, one, 1.0)):
        with pytest.raises(InputError, match="at least two"):
            call()


def test_each_judge_is_taught_by_its_folds_and_the_network_refuses_decoys(coded, tmp_path, monkeypatch):
    taught = {}

    def remember(clips, names, *rest):
        taught["names"], taught["clips"] = names, clips
        return SimpleNamespace(content_hash="c")

    monkeypatch.setattr(judges, "kept_listener", remember)
    caches = (tmp_path / "weights", tmp_path / "points", tmp_path / "listeners")
    panel = judges.teach_judges(coded.rows, coded.codec, 1, coded.package, FEW, TIMED, "cpu", caches)
    closed = [CLOSED.format(name) for name in (A, B)]
    assert [one.name for one in panel] == [A, B, *closed, CNN]
    assert [one.taught_by for one in panel] == [(2, 3), (1,), (2, 3), (1,), (2, 3)]
    known = [NONE in one.classifier.pipeline.classes_ for one in panel[:4]]
    assert known == [True, True, False, False] == [one.decoys == (decoys.GRAINS,) for one in panel[:4]]
    n_decoys = len(decoys.TAUGHT) * 2 * 4  # of the two timed classes, four clips each
    assert taught["names"].count(NONE) == n_decoys and len(taught["names"]) == 2 * 12 + n_decoys
    assert len(taught["clips"][len(taught["names"]) - 1]) == RATE and set(panel[-1].decoys).isdisjoint(decoys.HELD_BACK)
    panel = judges.teach_judges(coded.rows, coded.codec, 1, "nowhere", FEW, TIMED, "cpu", caches)
    assert [type(one) for one in panel] == [NotRun, NotRun, Judge] and "make judge" in panel[0].reason
    with pytest.raises(InputError, match="held_out_fold=4"):
        judges.teach_judges(coded.rows, coded.codec, 4, coded.package, FEW, TIMED, "cpu", caches)
    with pytest.raises(InputError, match="is taught by no clip of these classes"):
        judges.teach_judges(coded.rows, coded.codec, 1, coded.package, FEW, ["dog"], "cpu", caches)
    with pytest.raises(InputError, match="no clip of them; expected some of cry, rain, tick"):
        judges.teach_refusing(coded.rows, coded.codec, FEW, ["dog"])


def heard_rows(side: str, right: dict[str, list[int]]) -> pd.DataFrame:
    rows = [(side, "judge", f"{name}{n}", name, name if hit else NONE, bool(hit)) for name in right
            for n, hit in enumerate(right[name])]  # fmt: skip
    return pd.DataFrame(rows, columns=["side", "classifier", "clip", "category", "heard", "is_right"])


def test_a_share_of_real_weighs_classes_as_they_are_asked_for():
    real = heard_rows(REAL, {"dog": [1, 1, 1, 1], "rain": [1, 0] * 8})
    made = heard_rows("model", {"dog": [1, 0, 1, 0], "rain": [1, 0, 0, 0]})
    share, low, high = judges.share_of_real(made, real)
    assert share == pytest.approx((0.5 + 0.25) / (1 + 0.5)) and 0 <= low < share < high
    one_class = judges.share_of_real(heard_rows("model", {"dog": [1] * 2, "rain": [0] * 18}), real)
    assert one_class[1] < 0.06 and one_class[2] > 0.4  # though no class differs within itself
    assert judges.share_of_real(real, real)[0] == pytest.approx(1)
    assert np.isnan(judges.share_of_real(made, real.assign(is_right=False))).all()
    with pytest.raises(InputError, match="'rain': no real clip"):
        judges.share_of_real(made, real[real["category"] == "dog"])


# Decoys


def test_what_is_replaced_grows_and_blocks_and_halves_keep_their_columns():
    codes, others = np.arange(80).reshape(2, 40), np.full((2, 7), -1)
    found = [decoys.replaced(codes, others, share, np.random.default_rng(0)) for share in (0.25, 0.5, 0.75)]
    gone = [(one == -1).all(0) for one in found]
    assert [part.sum() for part in gone] == [10, 20, 30] and (gone[0] <= gone[1]).all() and (gone[1] <= gone[2]).all()
    assert all((one[:, ~part] == codes[:, ~part]).all() for one, part in zip(found, gone, strict=True))
    blocks = decoys.block_shuffled(codes, 8, np.random.default_rng(0))
    assert sorted(blocks[0]) == list(codes[0]) and (np.diff(blocks[0].reshape(5, 8)) == 1).all()
    assert not np.array_equal(blocks, codes)
    halves = decoys.mixed_halves(codes, others, np.random.default_rng(0))
    assert (halves == -1).all(0).sum() == 20 and len(set(halves[0])) == 21


def test_grains_keep_the_sound_and_nothing_of_its_course():
    clip = np.concatenate([np.zeros(RATE), noise(RATE)])
    for n_samples in (2 * RATE, 2 * RATE - 1):
        mixed = decoys.grains_shuffled(clip[:n_samples], 320, np.random.default_rng(0))
        power = [np.mean(half**2) for half in np.array_split(mixed, 2)]
        assert mixed.shape == (n_samples,) and mixed.dtype == np.float32
        assert power[0] == pytest.approx(power[1], rel=0.4) and sum(power) == pytest.approx(0.01, rel=0.1)
    source = decoys.Source("a.wav", lambda rate: clip, category="tick", fold=2)
    made, again = (decoys.without_time([source]) for _ in range(2))
    assert len(made) == 3 and {(one.category, one.fold) for one in made} == {(NONE, 2)}
    assert len({one.name for one in made}) == 3 and np.array_equal(made[2].load(RATE), again[2].load(RATE))


def test_a_decoy_stands_for_a_clip_and_is_the_same_each_time(coded):
    maker, rows = decoys.Decoys(coded.rows, coded.codec, 1), coded.rows[:2]
    for kind in decoys.KINDS:
        first, again = (maker.sources(kind, rows) for _ in range(2))
        assert [one.name for one in first] == list(rows["filename"]) and first[0].category == "cry"
        clip = first[1].load(RATE)
        assert clip.shape == (RATE,) and np.array_equal(clip, again[1].load(RATE))
    with pytest.raises(InputError, match="kind='noise'"):
        maker.sources("noise", rows)
    with pytest.raises(InputError, match="with two clips of each"):
        decoys.Decoys(rows, coded.codec)
    with pytest.raises(InputError, match="'owl': no clip"):
        maker.sources("codec", rows.assign(category="owl"))


# The ladder


def climbed(shares: dict[str, float], n: int = 40) -> pd.DataFrame:
    """What a judge hears, in a share of the clips of two classes rightly."""
    given = dict.fromkeys(decoys.KINDS, 0.0) | shares
    parts = [heard_rows(kind, {name: [k < given[kind] * n for k in range(n)] for name in TIMED}) for kind in given]
    return ladder.judged(pd.concat(parts), TIMED)


GOOD = {"real": 0.9, "codec": 0.8, "replaced_25": 0.7, "replaced_50": 0.5, "replaced_75": 0.3, "bigram": 0.3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"codec": 0.925}, ""),  # by chance
        ({"shuffled": 1.0}, ""),  # a kind that judges may be taught
        ({"replaced_50": 0.95}, "hears replaced_50 better than replaced_25, by 25.0 points"),
        ({"halves": 1.0}, ""),  # not above twice chance, which is one half of two classes
        (dict.fromkeys(GOOD, 0.0), "does not hear the codec better than unigram codes"),
    ],
)
def test_who_is_admitted(change, words):
    table = climbed(GOOD | change)
    assert set(table["why"]) == {words} and set(table["admitted"]) == {ladder.NO if words else ladder.YES}
    falls = table[table["part"] == ladder.ALL]["fall"]
    assert len(table) == 7 + 10 and np.isnan(falls.iloc[0]) and falls.notna().sum() == 6


def test_who_hears_ticks_in_sound_without_time_is_refused():
    table = climbed(GOOD | {"blocks": 0.5}).assign(chance=0.2)
    parts = (table[table["part"] == part] for part in (ladder.ALL, ladder.WITH_TIME))
    assert ladder.verdict(*parts, 0.1) == (
        False, "hears 50.0% of blocks as what they are made of, at most 40.0% expected"
    )  # fmt: skip


def test_the_notebook_climbs_judges_folders_and_its_report_is_logged_when_published(coded, root, monkeypatch):
    for number, category in enumerate(CLASSES):
        write_wav(f"made/{category}/{number}.wav", sound(category, 90 + number, RATE), RATE)
    monkeypatch.setattr("envsound.base.paths.go_to_root", lambda: root)
    given = {"dataset": "folder", "data_dir": str(coded.folder), "codec": str(coded.folder / "toy.safetensors")}
    given |= {"package": str(coded.package), "timed": TIMED, "listener_epochs": 1, "device": "cpu"}
    names = run_cells(ROOT / "notebooks" / "evaluation" / "18_judges.ipynb", given | {"folders": {"a model": "made"}})
    table = read_csv("data/runs/judges/patches/ladder.csv")
    asked = table.dropna(subset="n").groupby("judge", sort=False)["n"].max().to_dict()
    assert list(asked.values()) == [6, 12, 6, 12, 6] and list(table.columns) == ladder.COLUMNS
    assert names["judged"].whole.empty
    everyone = [one for one in names["panel"] if isinstance(one, Judge)]
    judged = judges.judge_folders({"a model": "made"}, everyone, names["clips"], RATE)
    by_class, judged = judged.by_class, judged.whole
    assert list(by_class) == judges.CLASS_COLUMNS and set(by_class["category"]) == set(CLASSES)
    assert list(by_class.groupby(["judge", "system"], sort=False)["n"].sum()) == list(judged["n"])
    assert list(by_class.groupby(["judge", "system"], sort=False)["n_right"].sum()) == list(judged["n_right"])
    assert list(judged["system"]) == [REAL, "a model"] * 5 and set(judged["n_real"]) == {6, 12}
    recording = names["clips"].iloc[0]  # in another form, it is new to those alone whom its fold did not teach
    write_wav(f"again/{recording['category']}/{Path(recording['filename']).stem}.wav", noise(RATE), RATE)
    again = judges.judge_folders({"again": "again"}, everyone, names["clips"], RATE).whole
    hears = {one.name for one in everyone if recording["fold"] not in one.taught_by}
    assert set(again.loc[again["system"] == "again", "judge"]) == hears and 0 < len(hears) < len(everyone)
    write_csv("data/runs/judges/patches/judged.csv", judged[judged["judge"] == B])
    for reading in (1, 2):
        assert publish_any("data/runs/judges/patches", readings.REPORTS) == Path("data/published/judges/patches")
        log = read_csv(readings.READINGS)
        assert len(log) == 7 * reading and set(log["reading"][-7:]) == {reading} and list(log) == readings.COLUMNS
    assert dict(zip(log["row"], log["taught_by"].astype(str), strict=True))["a model"] == "1"
    with pytest.raises(InputError, match="'owl'; expected subfolders"):
        write_wav("owls/owl/0.wav", noise(RATE), RATE)
        judges.judge_folders({"owls": "owls"}, everyone, names["clips"], RATE)
    with pytest.raises(InputError, match="was taught by fold"):
        judges.judge_sides({REAL: decoys.from_rows(names["clips"])}, everyone[:1], RATE)
    write_json("data/runs/judges/patches/provenance.json", {"steps": {}})
    with pytest.raises(InputError, match="lacks the judges"):
        readings.log_readings(Path("data/runs/judges/patches"))


def test_without_aisfx_the_ladder_says_so(coded):
    report = ladder.climb([NotRun(A, "make judge")], coded.rows, coded.codec, TIMED)
    assert list(ladder.verdicts(report["ladder"]).iloc[0]) == ["toy", A, ladder.NOT_RUN, "make judge"]
    assert report.facts["admitted"] == [] and report["heard"].empty
    taught = Judge(A, SimpleNamespace(), "h", (1, 2, 3))
    with pytest.raises(InputError, match="every clip is of the folds that taught it"):
        ladder.climb([taught], coded.rows, coded.codec, TIMED)


def test_the_generators_card_says_how_often_each_class_was_heard():
    by_class = read_csv(ROOT / "data" / "published" / "judges" / "patches" / "judged_by_class.csv")
    card = read_json(ROOT / "data" / "generator" / "generator.json")["measured"]
    for judge in (A, B):
        said = dict(part.rsplit(" ", 1) for part in card[f"heard as asked by {judge}, of 20 clips a class"].split(", "))
        rows = by_class[(by_class["judge"] == judge) & by_class["system"].str.startswith("masked model")]
        assert {name.replace(" ", "_"): int(n) for name, n in said.items()} == dict(
            zip(rows["category"], rows["n_right"], strict=True)
        )
