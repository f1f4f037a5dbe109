"""Tables of the classification study: means over folds, paired differences, classes, and what others report."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from fakes.recognition import Knower, made_up_clips

from envsound.base.errors import InputError
from envsound.metrics.published import published_value, read_published
from envsound.metrics.resampling import resampled_means
from envsound.studies.recognition import tables
from envsound.studies.recognition.report import recognise
from envsound.studies.recognition.rounds import cross_validation
from envsound.studies.recognition.tables import CLIP_COLUMNS, FOLD_COLUMNS, Recognised

FEW = {"seed": 0, "n_resamples": 200}
NOBODY = Recognised(pd.DataFrame(columns=FOLD_COLUMNS), pd.DataFrame(columns=CLIP_COLUMNS))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Recognised:
    """Three recognisers on three folds of 12 clips, with two seeds."""
    recognisers = [Knower(), Knower("half", 0.5), Knower("most", 0.75)]
    rounds = cross_validation(made_up_clips(4, 3))
    return recognise(recognisers, rounds, tmp_path_factory.mktemp("scores"), seeds=(0, 1))


def answers(right: dict[str, dict[int, list[int]]], sources=None, codecs=(), met=None, seed: int = 0) -> Recognised:
    """Return what recognisers said of dogs: `right` has a list of 0 and 1 for each fold, by recogniser.

    sources: of the clips of each fold; codecs: of recognisers that read codes; met: clips that these have met, by fold.
    """
    rows, folds = [], []
    for name, values in right.items():
        codec = dict(codecs).get(name, "none")
        for fold, of_fold in values.items():
            folds.append((name, fold, seed, codec, len(of_fold), np.mean(of_fold)))
            for place, value in enumerate(of_fold):
                source = sources[fold][place] if sources else f"{fold}_{place}"
                heard = met[fold][place] if met and codec != "none" else 0
                rows.append((name, seed, fold, f"{fold}_{place}", source, "dog", "dog", bool(value), 1.0, heard))
    table = pd.DataFrame(folds, columns=["recogniser", "fold", "seed", "codec", "n_test", "accuracy"])
    known = {"kind": "other", "n_train_folds": 1, "seconds": 1.0}
    return Recognised(table.reindex(columns=FOLD_COLUMNS).assign(**known), pd.DataFrame(rows, columns=CLIP_COLUMNS))


def test_accuracy_is_the_mean_over_folds_not_over_clips():
    summary = tables.summary_table(answers({"a": {1: [1, 0], 2: [1, 1, 1, 1]}}), **FEW)
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
    right = {"a": {fold: [1, 1, 1, 0, 0, 0] * 3 for fold in (1, 2)}}
    together = {fold: [f"{fold}{place // 3}" for place in range(18)] for fold in (1, 2)}
    widths = [tables.summary_table(answers(right, of), **FEW).eval("high - low").iloc[0] for of in (None, together)]
    assert widths[1] > 1.4 * widths[0]


def test_pairs_are_compared_on_the_same_clips():
    easy = np.random.default_rng(0).integers(2, size=(2, 30))
    better = easy.copy()
    better[:, :2] = 1
    better[0, 0], easy[0, 0], easy[:, 1] = 1, 0, 0
    found = answers({name: {1: rows[0], 2: rows[1]} for name, rows in (("better", better), ("worse", easy))})
    row = tables.pairs_table(found, **FEW).iloc[0]
    assert (row["recogniser_a"], row["recogniser_b"], row["n_clips"]) == ("better", "worse", 60)
    assert row["difference"] == pytest.approx((better - easy).mean()) and row["n_only_b"] == 0
    assert row["n_only_a"] == (better > easy).sum()
    alone = tables.summary_table(found, **FEW).eval("high - low").max()
    assert row["high"] - row["low"] < alone and row["low"] >= 0


def test_every_pair_has_a_row_and_one_recogniser_none(found):
    pairs = tables.pairs_table(found, **FEW)
    assert pairs[["recogniser_a", "recogniser_b"]].to_numpy().tolist() == [
        ["knower", "half"], ["knower", "most"], ["half", "most"]
    ]  # fmt: skip
    assert pairs["difference"].to_numpy() == pytest.approx([0.5, 0.25, -0.25])
    assert tables.pairs_table(answers({"a": {1: [1], 2: [0]}}), **FEW).empty
    assert tables.pairs_table(NOBODY, **FEW).empty


def test_seeds_are_averaged_within_a_clip():
    one, other = answers({"a": {1: [1, 0], 2: [0, 0]}}), answers({"a": {1: [1, 1], 2: [1, 1]}}, seed=1)
    both = Recognised(pd.concat([one.folds, other.folds]), pd.concat([one.clips, other.clips]))
    assert tables.right_table(both.clips)["a"].tolist() == [1.0, 0.5, 0.5, 0.5]
    row = tables.summary_table(both, **FEW).iloc[0]
    assert row["accuracy"] == pytest.approx(0.625) and row["n_clips"] == 4
    assert row["sd_seeds"] == pytest.approx(np.std([0.25, 1.0], ddof=1))


def test_classes_have_wilsons_interval_and_what_was_published(found):
    table = tables.classes_table(found, "esc50")
    half = table[(table["recogniser"] == "half")].set_index("category")
    assert half["n"].tolist() == [12, 12, 12] and half["n_right"].tolist() == [12, 6, 0]
    assert half.loc["dog", "low"] == pytest.approx(0, abs=1e-12) and 0.2 < half.loc["dog", "high"] < 0.26
    assert half["published"].to_dict() == {"chainsaw": 0.68, "clock_tick": 0.92, "dog": 0.87}
    assert (
        tables.classes_table(found, "esc10")["published"].isna().all()
    )  # one in ten is another task than one in fifty


def test_confusions_are_counted(found):
    counts = tables.confusions_table(found)
    assert counts[counts["recogniser"] == "half"].to_numpy().tolist() == [
        ["half", "chainsaw", "chainsaw", 12], ["half", "clock_tick", "clock_tick", 6],
        ["half", "clock_tick", "dog", 6], ["half", "dog", "chainsaw", 12],
    ]  # fmt: skip


def test_the_claim_is_tested_on_the_classes_that_are_there(found):
    claim = tables.claim_table(found, "esc50", **FEW).set_index("recogniser")
    assert claim.loc["knower", ["strong", "weak", "low", "high"]].tolist() == [1, 1, 0, 0]
    row = claim.loc["half"]  # chainsaw 1, clock_tick 0.5, dog 0
    assert (row["strong"], row["weak"], row["difference"]) == (0.25, 1.0, -0.75)
    assert row["low"] < -0.75 < row["high"] < 0 and (row["n_strong"], row["n_weak"]) == (24, 12)
    assert tables.claim_table(answers({"a": {1: [1], 2: [0]}}), "esc50", **FEW).empty  # dogs alone
    assert tables.claim_table(found, "esc10", **FEW).empty


def test_two_versions_of_the_clips_are_compared_clip_by_clip(found):
    there = found.clips[~((found.clips["fold"] == 1) & (found.clips["category"] == "dog"))]
    there = there[there["recogniser"] != "most"].assign(is_right=False)
    table = tables.beside_table(found, there, **FEW).set_index("recogniser")
    assert list(table.index) == ["knower", "half"] and (table["n_clips"] == 32).all()
    assert table.loc["knower", ["here", "there", "difference", "low"]].tolist() == [1, 0, 1, 1]
    with pytest.raises(InputError, match="no recogniser and clip is in both"):
        tables.beside_table(found, there.assign(clip="other"), **FEW)


def test_cited_rows_are_marked_have_a_source_and_agree_with_the_published_study(found):
    study, table = read_published(), tables.summary_table(found, "esc50", **FEW)
    cited = table[table["status"] == "cited"]
    assert {"people", "AST, fine-tuned", "BEATs, fine-tuned"} <= set(cited["recogniser"])
    assert cited["low"].isna().all() and len(table) == len(cited) + 3
    assert set(tables.summary_table(found, **FEW)["status"]) == {"measured"}
    for benchmark, short in (("esc50", "esc50"), ("urbansound8k", "us8k")):
        cited = tables.cited_table(benchmark).set_index("recogniser")
        assert (cited["source"] != "").all() and (cited["accuracy"] < 1).all()
        for name, item in (("frozen", "frozen"), ("fine-tuned", "finetuned"), ("AST", "ast")):
            expected = published_value(study, f"accuracy_{short}_{item}", "test") / 100
            assert cited.loc[f"published study, {name}", "accuracy"] == pytest.approx(expected)


def test_the_table_shows_the_best_first_and_says_what_is_cited_and_why_a_row_was_not_run(found):
    absent = Recognised(found.folds, found.clips, {"absent": "its weights are elsewhere"})
    shown = tables.shown_summary(tables.summary_table(absent, "esc50", **FEW)).set_index("recogniser")
    assert shown.index[0] == "knower" and shown.index[-1] == "absent" and "not met (%)" not in shown
    assert shown.loc[["knower", "people", "absent"], "learns from"].tolist() == ["1 fold", "–", "–"]
    columns = ["status", "accuracy (%)", "95% interval", "sd over seeds", "note"]
    assert shown.loc["people", columns].tolist() == ["cited", "81.3", "–", "–", "Piczak 2015"]
    assert shown.loc["absent", columns].tolist() == ["not run here", "–", "–", "–", "its weights are elsewhere"]
    nobody = Recognised(NOBODY.folds, NOBODY.clips, {"AST": "no weights"})
    assert tables.summary_table(nobody, **FEW)[["status", "note"]].to_numpy().tolist() == [
        ["not run here", "no weights"]
    ]
    assert tables.folder_name("AST (AudioSet), linear probe") == "ast_audioset_linear_probe"


# What is owed to a codec that has met test clips

MET = {1: [0] * 8, 2: [1] * 6 + [0] * 2, 3: [1] * 8}
CODES, SOUND, TOO = "codes", "sound", "too"


@pytest.fixture(scope="module")
def exposure() -> pd.DataFrame:
    """A reader of codes that knows what was met, and two that hear sound."""
    right = {
        CODES: {1: [1, 1, 0, 0, 0, 0, 0, 0], 2: [1] * 6 + [0, 0], 3: [1] * 8},
        SOUND: {1: [1] * 4 + [0] * 4, 2: [1, 1, 1, 0, 0, 0, 1, 0], 3: [1, 0] * 4},
        TOO: {1: [1] * 8, 2: [1] * 8, 3: [1] * 8},
    }
    return tables.exposure_table(answers(right, codecs={CODES: "patches"}, met=MET), n_resamples=500)


def test_every_recogniser_is_scored_on_the_same_clips_met_and_not_met(exposure):
    assert list(exposure.columns) == tables.EXPOSURE_COLUMNS
    assert (exposure["n_heard"] == 14).all() and (exposure["n_unheard"] == 10).all()
    assert exposure["accuracy_unheard"].tolist() == [2 / 10, 5 / 10, 1.0]  # over clips, not 1/8 as over folds
    assert exposure["accuracy_heard"].tolist() == [1.0, 7 / 14, 1.0]
    assert exposure["accuracy_unheard"].between(exposure["low_unheard"], exposure["high_unheard"]).all()
    assert (exposure["n_clean_folds"] == 1).all() and exposure["accuracy_clean"].tolist() == [0.25, 0.5, 1.0]


def test_the_advantage_is_what_met_clips_are_better_by_beyond_those_that_hear_sound(exposure):
    assert exposure.loc[CODES, "advantage"] == pytest.approx(0.8 - 0.0)
    assert 0.2 < exposure.loc[CODES, "low_advantage"] < 0.8 < exposure.loc[CODES, "high_advantage"] <= 1.3
    assert exposure.loc[[SOUND, TOO], "advantage"].isna().all()
    alone = answers({CODES: {1: [1] * 8, 2: [1] * 8, 3: [0] * 8}}, codecs={CODES: "patches"}, met=MET)
    row = tables.exposure_table(alone, n_resamples=20).loc[CODES]
    assert np.isnan(row["advantage"]) and row["accuracy_unheard"] == 1.0
    easy = {1: [0] * 8, 2: [1] * 6 + [0] * 2, 3: [1] * 8}
    found = answers({CODES: easy, SOUND: easy}, codecs={CODES: "b"}, met=MET)
    row = tables.exposure_table(found, n_resamples=100).loc[CODES]  # easier clips are no advantage
    assert row[["accuracy_heard", "accuracy_unheard"]].tolist() == [1, 0]
    assert row["advantage"] == row["low_advantage"] == row["high_advantage"] == 0


def test_nothing_is_said_without_codes_or_where_nothing_is_known_and_all_may_have_been_met():
    values = {1: [1] * 8, 2: [0] * 8, 3: [0] * 8}
    unknown = answers({CODES: values, SOUND: values}, codecs={CODES: "x"}, met=MET | {3: [np.nan] * 8})
    for one in (answers({SOUND: values}), unknown):
        assert tables.exposure_table(one).isna().all(axis=None)
    for value, n_clean in ((1, 0), (0, 3)):
        met = {fold: [value] * 8 for fold in MET}
        table = tables.exposure_table(answers({CODES: values}, codecs={CODES: "b"}, met=met), n_resamples=10)
        assert (table["n_clean_folds"] == n_clean).all() and (table["n_unheard"] == 24 - 24 * value).all()
