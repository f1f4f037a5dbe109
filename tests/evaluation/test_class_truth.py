"""Class truth: what is heard in clips asked for by class, and what training on generated clips is worth."""

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import noise
from fakes.sources import as_sources
from statsmodels.stats.proportion import proportion_confint

from envsound.base.errors import InputError
from envsound.data.synthetic.clips import generate_clip
from envsound.evaluation.sides import Source
from envsound.evaluation.truth import (
    ACCURACY_COLUMNS,
    HEARD_COLUMNS,
    MIX_COLUMNS,
    Mix,
    accuracy_table,
    confusion_table,
    draw_mix,
    findings_mixes,
    hear_classes,
    recogniser_trainer,
    train_on_mixes,
    usual_mixes,
)

RATE = 16_000  # Hz
NAMES = ["clock_tick", "rain"]


class Loudness:
    """Hears thunder in clips above a level, rain in the others."""

    sample_rate = RATE

    def predict(self, clips, sample_rate):
        assert sample_rate == self.sample_rate
        return ["thunder" if clip.std() > 0.1 else "rain" for clip in clips]


def loud_and_soft(n: int, wrong: int = 0) -> list[Source]:
    """`n` thunders and `n` rains, of which the first `wrong` thunders are soft."""
    levels = [0.05] * wrong + [0.3] * (n - wrong) + [0.05] * n
    clips = [noise(800, seed, level) for seed, level in enumerate(levels)]
    return as_sources(clips, RATE, ["thunder"] * n + ["rain"] * n)


def sounds(n_each: int, first_seed: int, prefix: str, names: list[str] = NAMES) -> list[Source]:
    """Synthetic clips of two classes; `names` is what they are called."""
    clips = [generate_clip(name, first_seed + i, RATE, 0.5) for i in range(n_each) for name in NAMES]
    return as_sources(clips, RATE, names * n_each, names=[f"{prefix}{i}" for i in range(len(clips))])


# Accuracy


def test_accuracy_is_the_share_heard_as_what_was_asked_for():
    heard = hear_classes({"real": loud_and_soft(40), "generated": loud_and_soft(8, 2)}, {"level": Loudness()}, RATE)
    assert list(heard.columns) == HEARD_COLUMNS and len(heard) == 96
    table = accuracy_table(heard)
    assert list(table.columns) == ACCURACY_COLUMNS
    rows = table.set_index(["side", "category"])
    assert rows["accuracy"].to_dict() == {
        ("real", ""): 1, ("real", "rain"): 1, ("real", "thunder"): 1,
        ("generated", ""): 14 / 16, ("generated", "rain"): 1, ("generated", "thunder"): 6 / 8,
    }  # fmt: skip
    assert set(rows["chance"]) == {0.5} and rows.loc[("generated", "thunder"), "n_right"] == 6
    interval = proportion_confint(14, 16, method="wilson")
    assert tuple(rows.loc[("generated", ""), ["low", "high"]]) == pytest.approx(interval)
    assert len(accuracy_table(heard, by_class=False)) == 2


def test_confusion_counts_what_was_heard_instead():
    heard = hear_classes({"generated": loud_and_soft(8, 3)}, {"level": Loudness()}, RATE)
    assert confusion_table(heard, "generated", "level").loc["thunder"].to_dict() == {"rain": 3, "thunder": 5}
    only = heard[heard["category"] == "thunder"]
    assert confusion_table(only, "generated", "level").to_numpy().tolist() == [[0, 0], [3, 5]]
    with pytest.raises(InputError, match="side='real'"):
        confusion_table(heard, "real", "level")


def test_a_classifier_gets_its_own_rate_and_only_clips_with_a_class():
    def failing(rate):
        raise InputError("gone")

    others = [Source("gone", failing, category="rain"), *as_sources([noise(800)], RATE)]
    heard = hear_classes({"generated": [*others, *loud_and_soft(2)]}, {"level": Loudness()}, 24_000)
    assert len(heard) == 4 and heard["is_right"].all()
    with pytest.raises(InputError, match="no clip with a category"):
        hear_classes({"generated": others}, {"level": Loudness()}, RATE)


# Training on generated clips


@pytest.fixture(scope="module")
def pools():
    return {
        "real": sounds(6, 0, "r"),
        "generated": sounds(4, 100, "g"),
        "mislabelled": sounds(5, 200, "m", NAMES[::-1]),
    }


def test_what_generated_clips_teach_is_measured_on_real_ones(pools):
    mixes = [Mix("real", {"real": 4}), Mix("generated", {"generated": 4}), Mix("wrong", {"mislabelled": 4})]
    test = sounds(6, 300, "t")
    table = train_on_mixes(pools, test, mixes, {"svm": recogniser_trainer()}, RATE, seeds=[0, 1])
    assert list(table.columns) == MIX_COLUMNS and len(table) == 6 and set(table["n_training"]) == {8}
    accuracy = table.groupby("mix")["accuracy"].mean()
    assert accuracy["real"] >= 0.8 and accuracy["generated"] >= 0.8 and accuracy["wrong"] <= 0.2
    assert set(table["n"]) == {12} and set(table["chance"]) == {0.5}
    words = findings_mixes(table)
    assert "svm trained on wrong (8 clips, of each class 4 mislabelled)" in words and "over 2 seeds" in words


def test_one_seed_has_the_interval_over_test_clips_and_several_the_range_over_seeds():
    row = {"classifier": "svm", "mix": "real", "seed": 0, "n_training": 8, "composition": "4 real", "n": 50}
    row |= {"n_right": 25, "accuracy": 0.5, "low": 0.37, "high": 0.63, "chance": 0.1}
    one = pd.DataFrame([row], columns=MIX_COLUMNS)
    assert "**50%** (37% to 63%) of 50 real clips" in findings_mixes(one)
    two = pd.concat([one, one.assign(seed=1, accuracy=0.6, low=0.46, high=0.72)])
    assert "**55%** (50% to 60% over 2 seeds) of 50 real clips" in findings_mixes(two)


def test_a_mix_draws_each_class_evenly_and_by_seed(pools):
    mix = Mix("both", {"real": 3, "generated": 0})
    drawn = draw_mix(pools, mix, 0)
    assert len(drawn) == 2 * 3 + 8 and len({source.name for source in drawn}) == len(drawn)
    assert sorted(source.category for source in drawn) == ["clock_tick"] * 7 + ["rain"] * 7
    assert drawn == draw_mix(pools, mix, 0) != draw_mix(pools, mix, 1)
    assert mix.composition == "3 real + all generated"


def test_the_usual_mixes_differ_in_kind_and_not_in_number(pools):
    mixes = usual_mixes(pools)
    assert [mix.name for mix in mixes] == [
        "real",
        "generated", "half real, half generated", "real and generated",
        "mislabelled", "half real, half mislabelled", "real and mislabelled",
    ]  # fmt: skip
    sizes = {mix.name: len(draw_mix(pools, mix, 0)) for mix in mixes}
    assert sizes.pop("real and generated") == 20 and sizes.pop("real and mislabelled") == 22
    assert set(sizes.values()) == {8}


def test_mixes_that_cannot_be_drawn_are_refused(pools):
    for mix, message in (
        (Mix("x", {"noise": 1}), "no pool 'noise'"),
        (Mix("x", {"real": 7}), "6 clips of 'clock_tick'"),
    ):
        with pytest.raises(InputError, match=message):
            draw_mix(pools, mix, 0)
    with pytest.raises(InputError, match="at least one other"):
        usual_mixes({"real": pools["real"]})
    with pytest.raises(InputError, match="expected some of every class"):
        usual_mixes({"real": pools["real"], "generated": pools["generated"][::2]})


def test_test_clips_are_in_no_pool(pools):
    with pytest.raises(InputError, match="test: g0 is in a pool, too"):
        train_on_mixes(pools, pools["generated"], [], {}, RATE)


def test_clips_are_read_in_batches_and_keep_their_order(monkeypatch):
    monkeypatch.setattr("envsound.evaluation.truth.BATCH_SIZE", 3)
    heard = hear_classes({"generated": loud_and_soft(5, 2)}, {"level": Loudness()}, RATE)
    assert heard["clip"].tolist() == [f"clip {i}" for i in range(10)]
    assert np.flatnonzero(~heard["is_right"]).tolist() == [0, 1]
