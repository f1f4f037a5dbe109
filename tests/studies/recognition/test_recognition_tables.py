"""Tables of the classification study: means over folds, paired differences, classes, and what others report."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from fakes.recognition import Knower, made_up_clips

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.metrics.resampling import INTERVAL, resampled_means
from envsound.studies.recognition.resampling import right_table
from envsound.studies.recognition.rounds import cross_validation
from envsound.studies.recognition.scores import CLIP_COLUMNS, FOLD_COLUMNS, Recognised, recognise
from envsound.studies.recognition.tables import (
    CITED,
    CITED_COLUMNS,
    beside_table,
    cited_table,
    claim_table,
    classes_table,
    confusion_of,
    confusions_table,
    pairs_table,
    summary_table,
)

FEW = {"seed": 0, "n_resamples": 200}
NOBODY = Recognised(pd.DataFrame(columns=FOLD_COLUMNS), pd.DataFrame(columns=CLIP_COLUMNS))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Recognised:
    """Three recognisers on three folds of 12 clips, with two seeds."""
    recognisers = [Knower(), Knower("half", 0.5), Knower("most", 0.75)]
    rounds = cross_validation(made_up_clips(4, 3))
    return recognise(recognisers, rounds, tmp_path_factory.mktemp("scores"), seeds=(0, 1))


def clips_of_two_folds(right: dict[str, list[list[int]]], sources: list[list[str]] | None = None) -> pd.DataFrame:
    """Return rows of recognition_clips.csv; `right` has a list of 0 and 1 for each fold, by recogniser."""
    rows = [
        {"recogniser": name, "seed": 0, "fold": fold, "clip": f"{fold}_{number}", "category": "dog", "heard": "dog",
         "is_right": bool(value), "confidence": 1.0,
         "source": sources[fold - 1][number] if sources else f"{fold}_{number}"}
        for name, folds in right.items()
        for fold, values in enumerate(folds, start=1)
        for number, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def from_clips(clips: pd.DataFrame) -> Recognised:
    by = clips.groupby(["recogniser", "fold", "seed"], sort=False)["is_right"]
    folds = by.agg(n_test="size", n_right="sum", accuracy="mean").reset_index()
    known = {"kind": "other", "codec": "none", "n_train_folds": 1, "seconds": 1.0}
    return Recognised(folds.reindex(columns=FOLD_COLUMNS).assign(**known), clips.assign(codec_heard=0))


def test_accuracy_is_the_mean_over_folds_not_over_clips():
    summary = summary_table(from_clips(clips_of_two_folds({"a": [[1, 0], [1, 1, 1, 1]]})), **FEW)
    row = summary.iloc[0]
    assert row["accuracy"] == 0.75 and row["sd_folds"] == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert (row["n_folds"], row["n_clips"], row["n_seeds"], row["status"]) == (2, 6, 1, "measured")
    assert (row["kind"], row["codec"], row["n_train_folds"]) == ("other", "none", 1)
    assert row["low"] == 0.5 and row["high"] == 1.0 and np.isnan(row["sd_seeds"])


def test_resampling_clips_agrees_with_every_resample_there_is():
    values = {1: np.array([1, 1, 0]), 2: np.array([1, 0, 0])}
    right = pd.DataFrame([{"fold": f, "source": f"{f}{i}", "a": float(v)} for f, x in values.items()
                          for i, v in enumerate(x)])  # fmt: skip
    exact = [
        (values[1][list(one)].mean() + values[2][list(two)].mean()) / 2
        for one, two in product(product(range(3), repeat=3), repeat=2)
    ]
    drawn = resampled_means(right, ["a"], 0, 20_000)["a"]
    assert drawn.mean() == pytest.approx(np.mean(exact), abs=0.005)
    assert drawn.std() == pytest.approx(np.std(exact), rel=0.02)


def test_clips_of_one_recording_are_drawn_together():
    right = {"a": [[1, 1, 1, 0, 0, 0] * 3] * 2}
    apart = from_clips(clips_of_two_folds(right))
    together = from_clips(clips_of_two_folds(right, [[f"{fold}{place // 3}" for place in range(18)] for fold in "12"]))
    widths = [summary_table(one, **FEW).eval("high - low").iloc[0] for one in (apart, together)]
    assert widths[1] > 1.4 * widths[0]


def test_pairs_are_compared_on_the_same_clips():
    easy = np.random.default_rng(0).integers(2, size=(2, 30))
    better = easy.copy()
    better[:, :2] = 1
    better[0, 0], easy[0, 0], easy[:, 1] = 1, 0, 0
    found = from_clips(clips_of_two_folds({"better": better.tolist(), "worse": easy.tolist()}))
    row = pairs_table(found, **FEW).iloc[0]
    assert (row["recogniser_a"], row["recogniser_b"], row["n_clips"]) == ("better", "worse", 60)
    assert row["difference"] == pytest.approx((better - easy).mean()) and row["n_only_b"] == 0
    assert row["n_only_a"] == (better > easy).sum()
    alone = summary_table(found, **FEW).eval("high - low").max()
    assert row["high"] - row["low"] < alone and row["low"] >= 0


def test_every_pair_has_a_row_and_one_recogniser_none(found):
    pairs = pairs_table(found, **FEW)
    assert pairs[["recogniser_a", "recogniser_b"]].to_numpy().tolist() == [
        ["knower", "half"], ["knower", "most"], ["half", "most"]
    ]  # fmt: skip
    assert pairs["difference"].to_numpy() == pytest.approx([0.5, 0.25, -0.25])
    assert pairs_table(from_clips(clips_of_two_folds({"a": [[1], [0]]})), **FEW).empty
    assert pairs_table(NOBODY, **FEW).empty


def test_seeds_are_averaged_within_a_clip():
    clips = clips_of_two_folds({"a": [[1, 0], [0, 0]]})
    both = pd.concat([clips, clips.assign(seed=1, is_right=True)])
    assert right_table(both)["a"].tolist() == [1.0, 0.5, 0.5, 0.5]
    row = summary_table(from_clips(both), **FEW).iloc[0]
    assert row["accuracy"] == pytest.approx(0.625) and row["n_clips"] == 4
    assert row["sd_seeds"] == pytest.approx(np.std([0.25, 1.0], ddof=1))


def test_classes_have_wilsons_interval_and_what_was_published(found):
    table = classes_table(found, "esc50")
    half = table[(table["recogniser"] == "half")].set_index("category")
    assert half["n"].tolist() == [12, 12, 12] and half["n_right"].tolist() == [12, 6, 0]
    assert half.loc["dog", "low"] == pytest.approx(0, abs=1e-12) and 0.2 < half.loc["dog", "high"] < 0.26
    assert half["published"].to_dict() == {"chainsaw": 0.68, "clock_tick": 0.92, "dog": 0.87}
    assert classes_table(found, "esc10")["published"].isna().all()  # one in ten is another task than one in fifty


def test_confusions_are_counted(found):
    counts = confusions_table(found)
    assert counts[counts["recogniser"] == "half"].to_numpy().tolist() == [
        ["half", "chainsaw", "chainsaw", 12], ["half", "clock_tick", "clock_tick", 6],
        ["half", "clock_tick", "dog", 6], ["half", "dog", "chainsaw", 12],
    ]  # fmt: skip
    assert confusion_of(found, "half").loc["dog"].to_dict() == {"chainsaw": 12, "clock_tick": 0, "dog": 0}


def test_the_claim_is_tested_on_the_classes_that_are_there(found):
    claim = claim_table(found, "esc50", **FEW).set_index("recogniser")
    assert claim.loc["knower", ["strong", "weak", "low", "high"]].tolist() == [1, 1, 0, 0]
    row = claim.loc["half"]  # chainsaw 1, clock_tick 0.5, dog 0
    assert (row["strong"], row["weak"], row["difference"]) == (0.25, 1.0, -0.75)
    assert row["low"] < -0.75 < row["high"] < 0 and (row["n_strong"], row["n_weak"]) == (24, 12)
    assert claim_table(from_clips(clips_of_two_folds({"a": [[1], [0]]})), "esc50", **FEW).empty  # dogs alone
    assert claim_table(found, "esc10", **FEW).empty


def test_two_versions_of_the_clips_are_compared_clip_by_clip(found):
    there = found.clips[~((found.clips["fold"] == 1) & (found.clips["category"] == "dog"))]
    there = there[there["recogniser"] != "most"].assign(is_right=False)
    table = beside_table(found, there, **FEW).set_index("recogniser")
    assert list(table.index) == ["knower", "half"] and (table["n_clips"] == 32).all()
    assert table.loc["knower", ["here", "there", "difference", "low"]].tolist() == [1, 0, 1, 1]
    with pytest.raises(InputError, match="no recogniser and clip is in both"):
        beside_table(found, there.assign(clip="other"), **FEW)


def test_what_was_not_run_keeps_a_row_that_says_why():
    absent = Recognised(NOBODY.folds, NOBODY.clips, [NotRun("AST", "no weights")])
    row = summary_table(absent, **FEW).iloc[0]
    assert (row["recogniser"], row["status"], row["note"]) == ("AST", "not run here", "no weights")
    assert np.isnan(row["accuracy"])


def test_cited_rows_are_marked_and_belong_to_their_benchmark(found):
    table = summary_table(found, "esc50", **FEW)
    cited = table[table["status"] == "cited"].set_index("recogniser")
    assert {"people", "AST, fine-tuned", "BEATs, fine-tuned", "published study, frozen"} <= set(cited.index)
    assert cited.loc["people", "accuracy"] == pytest.approx(0.813) and (cited["source"] != "").all()
    assert cited["low"].isna().all() and len(table) == len(cited) + 3
    assert set(summary_table(found, **FEW)["status"]) == {"measured"}
    assert cited_table("esc10")["accuracy"].max() == pytest.approx(0.957)


def test_the_published_studys_figures_agree_with_the_table_of_them():
    from envsound.metrics.published import published_value, read_published

    study = read_published()
    for benchmark, short in (("esc50", "esc50"), ("urbansound8k", "us8k")):
        cited = cited_table(benchmark).set_index("recogniser")["accuracy"]
        for name, item in (("frozen", "frozen"), ("fine-tuned", "finetuned"), ("AST", "ast")):
            expected = published_value(study, f"accuracy_{short}_{item}", "test") / 100
            assert cited[f"published study, {name}"] == pytest.approx(expected)


def test_a_cited_figure_without_a_source_is_refused(tmp_path):
    path = tmp_path / CITED.name
    write_csv(path, pd.DataFrame([("esc50", "x", 50.0, "", "", "")], columns=list(CITED_COLUMNS)))
    with pytest.raises(InputError, match="a row has no source"):
        cited_table("esc50", path)
    write_csv(path, pd.DataFrame({"benchmark": ["esc50"]}))
    with pytest.raises(InputError, match="lacks the column recogniser"):
        cited_table("esc50", path)


def test_the_interval_is_the_usual_95_percent():
    assert INTERVAL == (2.5, 97.5)
