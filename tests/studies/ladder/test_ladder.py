"""The ladder: rungs are read and refused by name, climbed once, and their page shows what was measured."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.aisfx import make_package
from fakes.notebooks import run_cells
from fakes.runs import staging
from fakes.sounds import sound

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_text, write_wav
from envsound.base.paths import go_to_root
from envsound.run.publish import publish_any
from envsound.studies.ladder import page
from envsound.studies.ladder.climbing import Climb, first_recordings, read_rungs, same_amount

ROOT = Path(__file__).parents[3]
RATE = 24_000
SOUNDS = {"dog": "tick", "crying_baby": "cry", "rain": "rain"}
SMALL = {"n_layers": 1, "dim": 96, "n_heads": 2, "max_steps": 2, "augment_copies": 1, "n_samples": 6, "watch_every": 1}
SMALL |= {"clip_seconds": 1.0}
FEW = """\
the base:
  base: {}
the class:
  guidance 1: {guidance_scale: 1.0}
  not told the class: {class_conditional: false}
learnt first:
  other classes first: {pretrained_on: other classes}
"""


def rungs_in(folder: Path, text: str) -> Path:
    write_text(folder / "rungs.yml", text)
    return folder / "rungs.yml"


def test_the_rungs_that_ship_change_one_thing_each_and_begin_with_the_base():
    rungs = read_rungs()
    assert rungs[0].name == "base" and not rungs[0].changes
    assert len({rung.name for rung in rungs}) == len(rungs) > 20
    changed = next(rung for rung in rungs if rung.name == "guidance 1")
    assert changed.changes == {"guidance_scale": 1.0} and changed.words == "guidance_scale: 1.0"
    assert [rung.group for rung in read_rungs(groups=["versions"])] == ["versions"] * 2
    with pytest.raises(InputError, match="the class"):
        read_rungs(groups=["the clas"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("the class: [1]", "expected groups"),
        ("the class: {a: {guidance: 1.0}}", "unknown parameter 'guidance'"),
        ("the class: {a: {guidance_scale: high}}", "rung 'a': guidance_scale"),
        ("the class: {../a: {}}", "rung '../a'"),
        ("one: {a: {}}\ntwo: {a: {}}", "each name once"),
        ("one: {a: {}", "not valid YAML"),
        ("one: {a: {}, a: {dim: 64}}", "'a' is there a second time"),
        ("- one", "expected keys with values"),
        ("the class: {a: {pretrained_on: music}}", "rung 'a': pretrained_on='music': expected other classes, speech"),
    ],
)
def test_a_rung_that_cannot_be_is_named_with_its_file(tmp_path, text, named):
    with pytest.raises(InputError, match=r"rungs\.yml") as caught:
        read_rungs(rungs_in(tmp_path, text))
    assert named in str(caught.value)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """The notebook run on thirty clips of a second, four rungs and one epoch of the network that judges."""
    go_to_root()
    folder, rows = tmp_path_factory.mktemp("ladder"), []
    for number, category in enumerate([*SOUNDS] * 20):
        of_ten, name, fold = number < 30, f"{category}{number:02d}.wav", number % 30 // 6 + 1
        write_wav(folder / "data" / "audio" / name, sound(SOUNDS[category], number, RATE), RATE)
        rows.append((name, fold, [*SOUNDS].index(category), category if of_ten else f"other {category}", of_ten))
    columns = ["filename", "fold", "target", "category", "esc10"]
    write_csv(folder / "data" / "meta" / "esc50.csv", pd.DataFrame(rows, columns=columns))
    given = {"changes": SMALL, "rungs_file": str(rungs_in(folder, FEW)), "data_dir": str(folder / "data")}
    given |= {"others_dir": str(folder / "data")}
    given |= {"run_dir": str(folder / "run"), "package": str(make_package(folder / "judge")), "listener_epochs": 1}
    scope = run_cells(ROOT / "notebooks" / "studies" / "19_climb_ladder.ipynb", given | {"device": "cpu"})
    return SimpleNamespace(folder=folder, run=folder / "run", scope=scope, given=given)


def test_the_notebook_measures_every_rung_beside_controls(climbed):
    ladder = read_csv(climbed.run / "rungs.csv").set_index("side")
    assert [*ladder.index[:5]] == ["real", "base", "guidance 1", "not told the class", "other classes first"]
    assert {"codec", "bigram", "unigram", "chain, copying", "chain, no copying"} < {*ladder.index}
    rungs = ladder[ladder["group"] != ""]
    assert rungs["n_steps"].tolist() == [2, 2, 2, 4] and rungs["gain_on_bigram"].notna().all()
    drawn = {name: read_csv(climbed.run / "clips" / name / "samples.csv") for name in ("base", "guidance 1")}
    assert [set(table["guidance_scale"]) for table in drawn.values()] == [{2.0}, {1.0}]
    assert rungs.loc["base", "training_seconds"] == rungs.loc["guidance 1", "training_seconds"]  # one model
    assert np.isnan(rungs.loc["not told the class", "heard"])  # nothing was asked for
    assert rungs["run_p90"].notna().all() and rungs["diversity"].notna().tolist() == [True, True, False, True]
    assert (ladder["run_p90"] >= ladder["run_median"]).all() and ladder["share_median"].between(0, 1).all()
    assert np.isnan(ladder.loc["codec", "probe"])  # the probe was taught by these very recordings


def test_a_climb_that_is_done_is_not_done_again(climbed):
    models = climbed.run / "models"
    learnt = {"base", "not told the class", "other classes first", "first, other classes"}
    assert {path.name for path in models.iterdir()} == learnt
    before = {path: path.stat().st_mtime_ns for path in climbed.run.rglob("*.wav")}
    given = {"first": climbed.scope["first"]} | SMALL
    again = Climb(climbed.scope["recordings"], climbed.run, torch.device("cpu"), **given)
    facts = again.climb(climbed.scope["rungs"])
    assert before == {path: path.stat().st_mtime_ns for path in climbed.run.rglob("*.wav")}
    assert facts["n_steps"].tolist() == [2, 2, 2, 4]


def test_what_is_learnt_first_is_as_much_of_either_kind_and_of_no_class_of_the_study(climbed):
    codes = read_csv(climbed.run / "models" / "first, other classes" / "codes.csv")
    base = read_csv(climbed.run / "models" / "base" / "codes.csv")
    assert set(codes["category"]) == {f"other {name}" for name in SOUNDS}
    counts = [table[table["fold"].isin([3, 4, 5])]["fold"].size for table in (codes, base)]
    assert counts[0] == counts[1] > 0 and set(codes["fold"]) == {2, 3}
    with pytest.raises(InputError, match="expected at least 31"):
        same_amount(climbed.scope["first"]["other classes"], 30, 1, (3, 2), 0)


def test_a_rung_whose_material_is_not_at_hand_is_named_and_left_out(climbed):
    climb = Climb(climbed.scope["recordings"], climbed.run, torch.device("cpu"), **SMALL)
    rungs, left_out = climb.possible(climbed.scope["rungs"])
    assert [rung.name for rung in rungs] == ["base", "guidance 1", "not told the class"]
    assert left_out == ["other classes first"]
    assert first_recordings({"other classes"}, "", "", climbed.run, 1.0) == {}


def test_the_page_shows_each_rung_with_its_sound(climbed, tmp_path):
    published = tmp_path / "data" / "published" / "ladder"
    publish_any(climbed.run, page.REPORTS, published)
    heard = {path.stem for path in (published / "sounds").iterdir()}
    assert heard == {"base", "guidance-1", "not-told-the-class", "other-classes-first"}
    book = staging(tmp_path)
    page.stage(book)
    pieces = {name: (book.book_dir / "executed" / "ladder" / f"{name}.txt").read_text() for name in ("rungs", "sounds")}
    assert pieces["sounds"].count("<audio") == 4 and "| guidance 1 | guidance_scale: 1.0 |" in pieces["rungs"]
    assert "| chain, copying | no model |" in pieces["rungs"] and "rungs.csv" in pieces["rungs"]
    assert page.facts(tmp_path / "data" / "published")["ladder"]["base"]["heard"].endswith("%")


def test_without_a_report_the_page_says_so(tmp_path):
    book = staging(tmp_path)
    page.stage(book)
    assert "Nothing published yet" in (book.book_dir / "executed" / "ladder" / "result.txt").read_text()
    assert not page.facts(tmp_path / "data" / "published")["ladder"]
