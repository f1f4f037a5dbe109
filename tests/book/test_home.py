"""The first page and the sounds of the book, from results that were made up: the answer turns when a result turns."""

import re
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import staging, tone, write_results

from envsound.base.files import write_csv, write_json
from envsound.book.home import (
    BEFORE,
    CHAIN,
    COUNTED,
    MODEL,
    NEARER,
    NO_NEARER,
    home_facts,
    stage_home,
    strip_classes,
)
from envsound.book.listen import THROUGH, stage_listen
from envsound.report.facts import NOT_MEASURED

REPOSITORY = Path(__file__).parents[2]


def publish(root: Path, model: float = 0.5, share_high: float = 0.7, n_apart: int = 1, kad: float = 1.0) -> Path:
    """Write results in which the judge hears a share of the model's clips, and `n_apart` measurements tell it apart."""
    published = root / "data" / "published"
    heard = {"real": 0.8, COUNTED[0]: 0.02, COUNTED[1]: 0.2, CHAIN: 0.4, BEFORE: 0.1, MODEL: model}
    rows = [
        {"judge": judge, "system": name, "n": 100, "accuracy": share, "low": share - 0.05, "high": share + 0.05,
         "accuracy_real": 0.8, "share": share / 0.8, "share_low": 0.5, "share_high": share_high}
        for judge in ("probe A", "probe B") for name, share in heard.items() if judge == "probe B" or name != MODEL
    ]  # fmt: skip
    write_csv(published / "judges" / "mine" / "judged.csv", pd.DataFrame(rows))
    run = published / "esc10"
    write_results(run, "esc10")
    told = [{"system": "generated", "run": "s", "metric": f"m{n}", "n": 9, "n_real": 9, "ks": 0.5, "note": "",
             "p_holm": 0.001 if n < n_apart else 0.5} for n in range(4)]  # fmt: skip
    write_csv(run / "evaluation.csv", pd.DataFrame(told))
    write_csv(run / "copies.csv", pd.DataFrame([{"side": "generated", "n": 200, "n_copies": 9}]))
    sides = {"generated": kad, "codec": 0.0, "bigram": 8.0, "unigram": 30.0}
    spaces = pd.DataFrame({"embedding": "statistics, 2", "side": sides.keys(), "kad": sides.values()})
    write_csv(run / "distances.csv", spaces.assign(kad_low=spaces["kad"] - 0.5, kad_high=spaces["kad"] + 0.5))
    classes = [{"embedding": "statistics, 2", "side": "generated", "category": name, "kad": value}
               for name, value in (("rain", 3), ("dog", 5), ("sea_waves", 9), ("rooster", 7))]  # fmt: skip
    write_csv(run / "distances_by_class.csv", pd.DataFrame(classes))
    return published


@pytest.mark.parametrize(("results", "begins"), [
    ({}, "Yes, in part: "),
    ({"share_high": 1.1}, "Yes: "),
    ({"model": 0.3}, "No, not so far: "),  # 25% to 35% beside 15% to 25%
])  # fmt: skip
def test_the_answer_turns_when_a_result_turns(root, results, begins):
    facts = home_facts(publish(root, **results))
    assert facts["answer"].startswith(begins) and facts["answer"].count(". ") == 1
    assert f"{results.get('model', 0.5):.0%} of its clips" in facts["answer"] and "20% of codes" in facts["answer"]


@pytest.mark.parametrize(("n_apart", "words"), [(0, "None of 4 acoustic measurements tell "), (1, "1 of 4 acoustic "
                         "measurements tells "), (3, "3 of 4 acoustic measurements tell ")])  # fmt: skip
def test_the_second_sentence_counts(root, n_apart, words):
    answer = home_facts(publish(root, n_apart=n_apart))["answer"]
    assert words in answer and "9 of 200 clips come nearer" in answer


@pytest.mark.parametrize(("model", "verdict"), [(0.42, "not clearly more than"), (0.6, "clearly more than")])
def test_the_chain_is_beaten_only_beyond_its_interval(root, model, verdict):
    assert home_facts(publish(root, model))["chain"] == verdict


@pytest.mark.parametrize(("kad", "title"), [(1.0, NEARER), (7.5, NO_NEARER)])
def test_the_figure_says_its_message_and_the_alt_text_its_numbers(root, kad, title):
    publish(root, kad=kad)
    stage_home(staging(root))
    text = (root / "book" / "executed" / "home" / "figure.txt").read_text(encoding="utf-8")
    assert f":alt: {title}. Kernel distance" in text and f"model {kad:.1f}" in text and "bigram 8.0" in text
    assert (root / "book" / "_static" / "generated" / "home" / "distance.png").is_file()


def test_the_strip_holds_the_nearest_of_either_kind_and_the_farthest_of_all(root):
    published = publish(root)
    assert strip_classes(published) == ["dog", "rain", "sea_waves"]
    facts = home_facts(published)
    assert (facts["timed"], facts["best"], facts["worst"]) == ("dog", "rain", "sea waves")


def test_without_results_nothing_is_claimed(root):
    facts = home_facts(root / "data" / "published")
    assert facts["grey"] == NOT_MEASURED and str(facts["answer"]) == str(facts["worst"]) == NOT_MEASURED


def test_the_grey_line_is_the_generators_card_and_the_commit_of_its_training(root):
    published = publish(root)
    made = {"n_clips": 319, "n_versions": 11, "steps": 4340, "batch_size": 128, "minutes": 4.14, "device": "a GPU"}
    card = {"training": made, "decoding": {"steps_per_level": [12, 8]}}
    write_json(root / "data" / "generator" / "generator.json", card)
    write_json(published / "esc10" / "provenance.json", {"steps": {"02_train_model": {"commit": "abcdef0123"}}})
    facts = home_facts(published)
    assert "319 recordings" in facts["grey"] and "4340 steps of 128 clips in 4.1 minutes" in facts["grey"]
    assert facts["grey"].endswith("a GPU; commit abcdef0") and facts["n_passes"] == "20"


def test_the_page_asks_for_facts_that_are_published():
    facts = home_facts(REPOSITORY / "data" / "published")
    pages = [REPOSITORY / "book" / f"{name}.md" for name in ("intro", "results", "how_it_works")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert set(re.findall(r"{{ home\.(\w+)", text)) <= set(facts)


# Sounds


def test_each_class_has_a_row_and_more_on_request(root):
    published = publish(root)
    names = [f"{number}_{category}.wav" for number, category in enumerate(("rain", "rain", "dog"))]
    for number, name in enumerate(names):
        tone(published / "esc10" / "clips" / name, 300 + 50 * number)
    write_csv(published / "esc10" / "clips.csv", pd.DataFrame({"filename": names, "category": ["rain", "rain", "dog"]}))
    near = {"side": "generated", "space": "log-mel", "clip": "0_rain.wav", "nearest": "5-9-A-0.wav",
            "nearest_category": "sea_waves"}  # fmt: skip
    write_csv(published / "esc10" / "nearest.csv", pd.DataFrame([near]))
    through = published / "judges" / "mine" / "clips" / THROUGH / "rain"
    tone(through / "1-1-A-0.wav", 600).rename(through / "1-1-A-0.ogg")
    for clip in ("1-1-A-0", "5-9-A-0"):
        audio = root / "data" / "material" / "audio"
        tone(audio / f"{clip}.wav", 500).rename(audio / f"{clip}.ogg")
    stage_listen(staging(root), ["rain"])
    text = (root / "book" / "executed" / "listen.txt").read_text(encoding="utf-8")
    dog, rain = text.split("## Rain")
    assert "## Dog" in dog and dog.count("<audio") == 1 and "{dropdown}" not in dog
    row, request = rain.split("````{dropdown}")
    assert row.count("<audio") == 3 and row.index("<b>recording</b>") < row.index("through the codec</b>")
    assert "<b>model, its second clip</b>" in request
    assert "<b>nearest training clip to the first: sea waves</b>" in request and request.count("<audio") == 2
    strip = (root / "book" / "executed" / "home" / "strip.txt").read_text(encoding="utf-8")
    assert strip.startswith("**Rain**") and strip.count("<audio") == 3


def test_one_decoding_is_heard_pass_by_pass(root):
    folder = root / "data" / "published" / "decoding"
    passes = {"level": 0, "column": range(4), "pass": [1, 2, 2, 3], "category": "dog"}
    write_csv(folder / "passes.csv", pd.DataFrame(passes))
    for name in ("02", "03"):
        tone(folder / "clips" / f"{name}.wav", 300).rename(folder / "clips" / f"{name}.ogg")
    stage_listen(staging(root), [])
    text = (root / "book" / "executed" / "decoding.txt").read_text(encoding="utf-8")
    assert "<b>after 2 passes</b>" in text and "3 of 4 codes are known" in text and "4 of 4 codes" in text
