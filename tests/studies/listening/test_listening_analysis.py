"""Answers of the listening test: what is refused, and what the analysis makes of answers whose outcome is known."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fakes.listening import told_clips, two_clips, two_trials
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_json
from envsound.metrics.tests import wilson
from envsound.studies.listening import analysis, figures
from envsound.studies.listening import answers as given_answers
from envsound.studies.listening.analysis import ALL, analyse, krippendorff_alpha, post_screening, t_interval
from envsound.studies.listening.answers import CARELESS, CONDITIONS, EMOTIONS, given_or_made_up, read_answers, read_key
from envsound.studies.listening.material import ANCHOR, REFERENCE, write_listening

X = float("nan")
# The worked example of Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: four observers, twelve units.
PUBLISHED = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
    [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
])  # fmt: skip
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]])  # of the same work


@pytest.mark.parametrize(
    ("ratings", "level", "alpha"),
    [(PUBLISHED, "nominal", 0.743), (PUBLISHED, "interval", 0.849), (BINARY, "nominal", 0.095)],
)
def test_alpha_is_that_of_the_published_examples(ratings, level, alpha):
    assert krippendorff_alpha(ratings, level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_is_one_for_agreement_and_undefined_without_variation_or_pairs():
    for level in ("nominal", "interval"):
        assert krippendorff_alpha(np.array([[1, 2, 3], [1, 2, 3]]), level) == 1
        for nothing in (np.ones((2, 3)), np.array([[1, X], [X, 2]]), np.empty((0, 0))):
            assert np.isnan(krippendorff_alpha(nothing, level))
    with pytest.raises(InputError, match="level='ordinal'"):
        krippendorff_alpha(PUBLISHED, "ordinal")
    with pytest.raises(InputError, match="n_raters"):
        krippendorff_alpha(PUBLISHED[0], "nominal")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 10), min_size=3, max_size=3), min_size=3, max_size=8), st.randoms())
def test_alpha_depends_neither_on_order_nor_on_the_scale(units, random):
    ratings = np.array(units, dtype=float).T
    mixed = ratings[:, random.sample(range(len(units)), len(units))][random.sample(range(3), 3)]
    for level in ("nominal", "interval"):
        alpha = krippendorff_alpha(ratings, level)
        assert krippendorff_alpha(7 - 3 * mixed, level) == pytest.approx(alpha, nan_ok=True)


@pytest.fixture
def page(tmp_path):
    """The key of a tiny page, and a folder with one listener's answers."""
    material = write_listening(two_clips(), two_trials(), tmp_path / "page", told_clips())
    key = read_key(tmp_path / "page" / "key.json")
    label, fit, match, codec = material["tasks"]
    answers = [{"task": "label", "item": row["item"], "answer": "dog"} for row in label["trials"]]
    answers += [{"task": "fit", "item": row["item"], "quality": 7, "fit": 10} for row in fit["trials"]]
    for row in codec["trials"]:
        ratings = {item: 100 if key.versions[item]["condition"] == REFERENCE else 40 for item in row["versions"]}
        answers.append({"task": "codec", "item": row["item"], "ratings": ratings})
    felt = {"quality": 0, "happiness": 1, "sadness": 2, "fear": 3, "anger": 10}
    answers += [{"task": "match", "item": row["item"], "answer": row["texts"][0]} | felt for row in match["trials"]]
    answers = [answer | {"seconds": 2.5, "at": "2026-01-01T00:00:00Z", "plays": 1} for answer in answers]
    value = {"format": "envsound-listening", "version": 1, "page": material["page"], "listener": "abc", "seed": 5}
    value |= {"listening_with": "headphones", "started": "s", "finished": "f", "order": [], "answers": answers}
    write_json(tmp_path / "answers" / "abc.json", value)
    return key, tmp_path / "answers"


def test_answers_are_joined_with_what_the_key_tells(page):
    key, folder = page
    answers = read_answers(folder, key)
    row = answers.listeners.iloc[0]
    counts = (row["n_label"], row["n_fit"], row["n_codec"])
    assert (row["listener"], row["listening_with"], counts) == ("abc", "headphones", (2, 2, 2))
    assert answers.label.set_index("category")["right"].to_dict() == {"dog": True, "sea_waves": False}
    assert set(answers.fit["fit"]) == {10} and len(answers.codec) == 6
    assert set(answers.codec.loc[answers.codec["condition"] == REFERENCE, "score"]) == {100}
    assert row["n_match"] == 3 and answers.match.set_index("text")["right"].to_dict() == {
        "big dog": True, "heavy rain": False, "old clock": False,
    }  # fmt: skip
    assert set(answers.match["anger"]) == {10} and set(answers.match["condition"]) == {"text model"}
    assert not answers.made_up and "**1**" in answers.notice() and "MADE UP" not in answers.notice()


def test_unfinished_answers_and_sounds_that_failed_count_for_what_they_hold(page):
    key, folder = page
    value = read_json(folder / "abc.json")
    value["answers"] = [value["answers"][0], {"task": "fit", "item": value["answers"][2]["item"], "failed": True}]
    write_json(folder / "abc.json", value | {"finished": None})
    answers = read_answers(folder, key)
    row = answers.listeners.iloc[0]
    assert (row["n_label"], row["n_fit"], row["n_failed"], row["finished"]) == (1, 0, 1, "")
    report = analyse(answers, n_resamples=10)
    assert report.codec.empty and report.fit.empty and report.screening.empty and len(report.label)
    assert report.agreement["alpha"].isna().all()


def of_answer(number: int, **changes):
    return lambda value: value["answers"][number].update(changes)


SPOILT = [
    (lambda value: value.update(format="other"), "not answers of the listening test"),
    (lambda value: value.update(version=2), "version 2; expected version 1"),
    (lambda value: value.update(page="123"), "answers to the page '123'"),
    (lambda value: value.update(listener=""), "listener ''"),
    (lambda value: value.update(listener="<img src=x>"), "listener '<img src=x>'; expected a name of up to 40"),
    (lambda value: value.update(listener="[a](b)"), "listener '[a](b)'"),
    (lambda value: value.update(listener="a\nb"), "listener 'a"),
    (lambda value: value.update(listener="a" * 41), "expected a name of up to 40"),
    (lambda value: value.update(seed="5"), "seed '5'"),
    (lambda value: value.update(answers={}), "no list of answers"),
    (lambda value: value["answers"].append("x"), "answer 10 belongs to no task"),
    (of_answer(0, task=[]), "answer 1 belongs to no task"),
    (lambda value: value["answers"].append(value["answers"][0]), "answer 10 repeats an earlier one"),
    (of_answer(0, item="nobody"), "answer 1 is about 'nobody'"),
    (of_answer(0, item=["a"]), "answer 1 is about"),
    (of_answer(0, answer="cat"), "answer 1 is 'cat'; expected one of dog, sea_waves"),
    (of_answer(0, seconds=-1), "answer 1 has no duration"),
    (of_answer(2, quality=11), "answer 3 has the quality 11"),
    (of_answer(2, fit=True), "answer 3 has the fit True"),
    (of_answer(8, answer="a cat"), "answer 9 is 'a cat'; expected one of big dog, heavy rain, old clock"),
    (of_answer(8, fear=1.5), "answer 9 has the fear 1.5; expected a whole number from 0 to 10"),
    (lambda value: value["answers"][4]["ratings"].popitem(), "answer 5 does not rate the versions"),
    (lambda value: of_answer(4, ratings=dict.fromkeys(value["answers"][4]["ratings"], 101))(value), "rating 101"),
]


def test_a_file_that_is_damaged_or_foreign_is_named(page):
    key, folder = page
    good = (folder / "abc.json").read_text()
    for spoil, message in SPOILT:
        value = json.loads(good)
        spoil(value)
        write_json(folder / "abc.json", value)
        with pytest.raises(InputError) as refused:
            read_answers(folder, key)
        assert str(refused.value).startswith(f"{folder / 'abc.json'}: ") and message in str(refused.value)


def test_a_file_that_is_no_answer_or_no_key_is_named(page):
    key, folder = page
    for content in (b'{"format": ', b"\xff\xfe\x00", b"[1]", b"null"):
        (folder / "x.json").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.json: "):
            read_answers(folder, key)
    for content in ("{}", '{"format": "envsound-listening-key", "version": 1}', "[]"):
        (folder / "key.json").write_text(content)
        with pytest.raises(InputError, match=r"key\.json: "):
            read_key(folder / "key.json")


def test_a_listener_counts_once_and_made_up_answers_stay_apart(page, tmp_path):
    key, folder = page
    found, given_key = given_or_made_up(str(folder), str(tmp_path / "page" / "key.json"), tmp_path)
    assert found == Path(folder) and given_key == key
    value = read_json(folder / "abc.json")
    write_json(folder / "copy.json", value)
    with pytest.raises(InputError, match=r"copy\.json: the same listener as in .*abc\.json"):
        read_answers(folder, key)
    write_json(folder / "copy.json", value | {"listener": "d", "made_up": "yes"})
    with pytest.raises(InputError, match=r"copy\.json: made-up answers beside"):
        read_answers(folder, key)
    with pytest.raises(InputError, match="no answers in it"):
        read_answers(folder / "none", key)


def codec_rows(scores: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    """Rows of the codec task from listener -> condition -> scores, a trial each, of the categories a and b in turn."""
    return pd.DataFrame([
        {"listener": listener, "trial": trial, "item": f"{condition}{trial}", "condition": condition, "score": score,
         "category": "ab"[trial % 2]}
        for listener, conditions in scores.items()
        for condition, values in conditions.items()
        for trial, score in enumerate(values)
    ])  # fmt: skip


def named(right: np.ndarray) -> pd.DataFrame:
    """Answers to the label task from whether each of some listeners (rows) names each clip (columns) rightly."""
    n_listeners, n_clips = right.shape
    label = pd.DataFrame({"listener": np.repeat(np.arange(n_listeners), n_clips).astype(str), "right": right.ravel()})
    return label.assign(item=np.tile(np.arange(n_clips), n_listeners), category="a", condition="x")


def test_who_misses_the_hidden_reference_more_often_than_allowed_is_excluded():
    found = {"at the limit": [89] * 3 + [100] * 17, "beyond": [89] * 4 + [100] * 16, "exact": [90] * 20}
    table = post_screening(codec_rows({name: {REFERENCE: scores, ANCHOR: [0] * 20} for name, scores in found.items()}))
    assert table.set_index("listener")["n_below"].to_dict() == {"at the limit": 3, "beyond": 4, "exact": 0}
    assert analysis.excluded(table) == ["beyond"]


def test_codec_means_are_over_listeners_not_over_ratings_with_the_textbook_interval():
    rows = codec_rows({"often": {"x": [80, 80, 80, 80]}, "once": {"x": [20], "y": [90]}})
    table = analysis.codec_means(rows).set_index(["condition", "category"])
    assert table.loc[("x", ALL), "mean"] == 50 and table.loc[("x", ALL), "n_ratings"] == 5
    assert table.loc[("x", "b"), "mean"] == 80 and np.isnan(table.loc[("x", "b"), "low"])
    assert list(analysis.codec_means(rows)["condition"].unique()) == ["y", "x"]  # the best first
    values = np.array([52.0, 60.0, 71.0, 48.0, 66.0])
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert t_interval(values) == pytest.approx((values.mean(), low, high)) and np.isnan(t_interval([])[0])


def test_answers_of_one_listener_are_not_taken_as_independent():
    every = np.arange(16)
    mixed = (every[:, None] + every) % 2 == 0  # half the answers of each listener, and about each clip
    clustered = np.repeat(every[:, None] % 2 == 0, 16, axis=1)  # half the listeners know all, half know nothing
    widths = []
    for right in (mixed, clustered):
        row = analysis.label_shares(named(right), ("a", "b"), 0, 400).iloc[0]
        assert (row["n_answers"], row["n_right"], row["share"], row["chance"]) == (256, 128, 0.5, 0.5)
        widths.append(row["high"] - row["low"])
    of_answers = np.subtract(*reversed(wilson(128, 256)))
    assert widths[1] > 3 * of_answers and widths[1] > 2 * widths[0]
    row = analysis.label_shares(named(np.ones((3, 4), bool)), ("a", "b"), 0, 50).iloc[0]
    assert row["share"] == 1 and np.isnan(row["low"]) and np.isnan(row["high"])  # all alike: no interval


def test_matches_have_an_interval_over_listeners_for_each_text_and_none_over_all():
    said = {"condition": "x", **dict.fromkeys(EMOTIONS, 4)}
    rows = [said | {"text": text, "right": number < n_right, "quality": number % 2}
            for text, n_right in (("a", 23), ("b", 34)) for number in range(34)]  # fmt: skip
    table = analysis.match_shares(pd.DataFrame(rows)).set_index("text")
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx(wilson(23, 34)) and table.loc["b", "share"] == 1
    assert table.loc[ALL, "n_answers"] == 68 and np.isnan(table.loc[ALL, "low"]) and table["fear"].eq(4).all()
    assert table["chance"].eq(1 / 3).all() and table["quality"].eq(0.5).all()


def test_confusions_are_counted_for_every_category():
    label = pd.DataFrame({"category": ["a", "a", "a", "b"], "answer": ["a", "a", "b", "b"]})
    assert analysis.confusion(label, ("a", "b", "c")).to_numpy().tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_agreement_on_codecs_alone_is_not_raised_by_reference_and_anchor():
    easy = {REFERENCE: [100, 100], ANCHOR: [0, 0]}
    rows = codec_rows({"one": easy | {"x": [40, 60]}, "other": easy | {"x": [60, 40]}})
    empty = rows.iloc[:0].assign(answer="", quality=0, fit=0)
    table = analysis.agreement_table(empty, empty, rows).set_index("question")
    assert table.loc["score", "alpha"] > 0.8 and table.loc["score", "n_items"] == 6
    assert table.loc[analysis.CODECS_ALONE, "alpha"] < 0 and table.loc[analysis.CODECS_ALONE, "n_items"] == 2


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    folder, key = given_or_made_up("", "", tmp_path_factory.mktemp("out"), n_listeners=12)
    return read_answers(folder, key), folder


def test_made_up_answers_say_so_in_every_file_table_and_figure(made_up, tmp_path):
    answers, folder = made_up
    assert answers.made_up and "MADE UP. Nobody listened" in answers.notice()
    assert all("MADE UP" in json.loads(path.read_text())["made_up"] for path in folder.iterdir())
    report = analyse(answers, n_resamples=50)
    report.write(tmp_path)
    assert len(list(tmp_path.glob("*.csv"))) == 7
    assert all(read_csv(path)["made_up"].all() for path in tmp_path.glob("*.csv"))
    for name in ("codec", "fit", "confusion"):
        draw, table = getattr(figures, f"{name}_figure"), getattr(report, name)
        drawn = [draw(table, True), draw(table, False), draw(table.iloc[:0], True)]
        marked, plain, empty = ([text.get_text() for text in fig.findobj(matplotlib.text.Text)] for fig in drawn)
        assert figures.MADE_UP_WORDS in marked and figures.MADE_UP_WORDS not in plain and figures.NOBODY in empty


def test_the_analysis_finds_what_was_made_up(made_up):
    report = analyse(made_up[0], n_resamples=200)
    careless = [f"made-up-{number:02d}" for number in range(CARELESS - 1, 12, CARELESS)]
    assert analysis.excluded(report.screening) == careless
    codec = report.codec[report.codec["category"] == ALL].set_index("condition")
    assert list(codec.index) == sorted(CONDITIONS, key=CONDITIONS.get, reverse=True)
    assert all(abs(codec.loc[name, "mean"] - score) < 6 for name, score in CONDITIONS.items())
    assert codec["n_listeners"].unique().tolist() == [10]
    fit = report.fit[report.fit["category"] == ALL].set_index(["question", "condition"])
    assert fit.loc[("quality", "recording"), "low"] > fit.loc[("quality", "a made-up model"), "high"]
    match = report.match.set_index("text")
    assert match.loc[ALL, "n_answers"] == 48 and match.loc[ALL, "share"] > 0.5 > match.loc[ALL, "chance"]
    alphas = report.agreement.set_index("question")["alpha"]
    assert alphas["score"] > 0.8 > alphas["quality"] > 0.2 and alphas[analysis.CODECS_ALONE] < alphas["score"]


def test_the_same_seed_makes_up_the_same_answers_and_tells_the_same_intervals(made_up, tmp_path):
    key = read_key(given_answers.make_up_key(tmp_path / "key.json"))
    again = read_answers(given_answers.make_up_answers(key, tmp_path / "a", 12), key)
    first, second = (analyse(answers, 3, 50) for answers in (made_up[0], again))
    pd.testing.assert_frame_equal(first.fit, second.fit)
    other = read_answers(given_answers.make_up_answers(key, tmp_path / "b", 12, seed=1), key)
    assert not other.codec["score"].equals(again.codec["score"])
