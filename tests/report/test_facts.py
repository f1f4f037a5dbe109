"""Facts for the prose, the files that pages show, and the map of the house as a table."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import tone, write_results

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.report.assets import Assets
from envsound.report.facts import (
    book_facts,
    facts,
    house_table,
    judged_facts,
    keyed,
    published_facts,
    run_origin,
    told_apart,
)

REPOSITORY = Path(__file__).parents[2]


def test_facts_nobody_measured_say_so_at_any_depth():
    tree = facts({"a": {"b": 0.5}, "none": None, "list": [12, 1]})
    found = [tree["a"]["b"], tree["x"]["y"]["z"], tree["none"], tree["list"]]
    assert [*map(str, found)] == ["0.5", "not measured", "not measured", "12, 1"]


def test_rows_are_found_by_their_keys_of_which_the_first_counts_and_published_facts_prefer_the_result_files(root):
    table = pd.DataFrame({"side": ["real", "real", "real"], "category": ["", "dog", ""], "n": [80, 8, 1]})
    assert keyed(table, ("side", "category")) == {"real": {"all": {"n": "80"}, "dog": {"n": "8"}}}
    write_csv(root / "p.csv", pd.DataFrame([
        {"item": "zcr", "side": "real", "value": 0.067, "sd": 0.075, "source": "paper table 2"},
        {"item": "zcr", "side": "real", "value": 0.0673, "sd": 0.0746, "source": "public result file"},
    ]).assign(unit="1", note=""))  # fmt: skip
    assert published_facts(root / "p.csv")["zcr"]["real"]["value"] == "0.0673"


def test_metrics_that_tell_a_system_from_real_clips_are_counted():
    rows = [
        {"system": system, "run": run, "metric": metric, "n": 100, "n_real": 80, "ks": ks, "p_holm": p, "note": note}
        for system, run in (("codec", ""), ("generated", "x seed 0"))
        for metric, ks, p, note in (("a", 0.5, 0.01, ""), ("b", 0.1, 1.0, ""), ("c", 0.9, 0.0, "not tested"))
    ]
    counts = told_apart(pd.DataFrame([*rows, rows[0] | {"system": "real", "ks": None}]))
    assert counts.to_numpy().tolist() == [["codec", "", 100, 80, 2, 1], ["generated", "x seed 0", 100, 80, 2, 1]]
    assert counts.columns.tolist() == ["system", "run", "n", "n_real", "n_tests", "n_apart"]


def test_facts_of_a_repository_are_its_files_and_of_an_empty_one_all_unmeasured(root):
    found = book_facts(root)
    assert str(found["codec"]["n_parameters"]) == str(found["results"]["esc10"]["run"]["commit"]) == "not measured"
    assert found["steps"]["n03"] == "not run yet" and found["house"] == "*not measured*"
    write_results(root / "data" / "published" / "esc10", "esc10")
    (root / "book" / "executed" / "runs" / "demo").mkdir(parents=True)
    (root / "book" / "executed" / "runs" / "demo" / "03_sample_clips.ipynb").touch()
    found = book_facts(root)
    assert found["results"]["esc10"]["ks"]["codec_vs_real"]["rms"]["statistic"] == "0.31"
    assert found["results"]["esc10"]["table"]["rms"]["real_mean"] == "1.5"
    assert found["results"]["esc10"]["run"]["commit"] == "abc123"
    assert found["steps"]["n03"] == "[demo](executed/runs/demo/03_sample_clips.ipynb)"
    (root / "provenance.json").write_text(json.dumps(["?"]))
    with pytest.raises(InputError, match=r"provenance.json: no steps"):
        run_origin(root)


def test_only_sounds_and_pictures_inside_allowed_folders_are_copied_and_equal_names_stay_apart(root, tmp_path_factory):
    outside = tone(tmp_path_factory.mktemp("outside") / "a.wav", 400)
    inside = tone(root / "data" / "a.wav", 400)
    (root / "data" / "keys.txt").write_text("secret")
    assets = Assets(root / "book", [root / "data"])
    assert assets.add(outside, "x") is None
    assert assets.add(root / "data" / ".." / ".." / outside.parent.name / "a.wav", "x") is None
    assert assets.add(root / "data" / "keys.txt", "x") is None
    assert assets.add(inside, "../../up").is_relative_to(root / "book" / "_static" / "audio")
    twins = [tone(root / "data" / name / "x.wav", hz) for name, hz in (("a", 300), ("b", 900))]
    assert len({assets.add(one, "g").read_bytes() for one in twins}) == 2


def test_the_map_becomes_a_table_which_the_readme_holds(tmp_path):
    (tmp_path / "house.toml").write_text('[packages."run"]\npurpose = "Runs"\nfiles = 3\nlines = 9\n')
    assert house_table(tmp_path / "house.toml").splitlines()[2:] == ["| `src/envsound/run/` | Runs |"]
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    between = text.partition("<!-- house -->\n")[2].partition("\n<!-- /house -->")[0]
    assert between == house_table(REPOSITORY / "house.toml")


def test_what_judges_heard_is_a_percentage_and_a_share_of_real(root):
    row = {"judge": "B", "system": "model", "accuracy": 0.5, "share": 0.625, "share_low": 0.5, "share_high": 0.75}
    write_csv(root / "judges" / "mine" / "judged.csv", pd.DataFrame([row]))
    told = judged_facts(root / "judges")["B"]["model"]
    assert (told["heard"], told["of_real"]) == ("50%", "62% (50 to 75%)")
    assert str(judged_facts(root)["B"]["model"]["heard"]) == "not measured"
