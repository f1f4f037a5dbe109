"""Class truth: what is heard in clips asked for by class, and what training on generated clips is worth."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.codecs import noise
from fakes.sounds import as_sources, sound
from statsmodels.stats.proportion import proportion_confint

from envsound.base.errors import InputError
from envsound.evaluation.listeners.mfcc import train_recogniser
from envsound.evaluation.sides import Source
from envsound.evaluation.truth import (
    ACCURACY_COLUMNS,
    HEARD_COLUMNS,
    MIX_COLUMNS,
    Mix,
    accuracy_table,
    draw_mix,
    hear_classes,
    mixes_of,
    train_on_mixes,
)

RATE = 16_000  # Hz
NAMES = ["cry", "rain"]


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
    """Clips of two classes; `names` is what they are called."""
    clips = [sound(name, first_seed + i, RATE, 0.3) for i in range(n_each) for name in NAMES]
    return as_sources(clips, RATE, names * n_each, names=[f"{prefix}{i}" for i in range(len(clips))])


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


def test_a_classifier_gets_its_own_rate_and_only_clips_with_a_class_in_their_order(monkeypatch):
    def failing(rate):
        raise InputError("gone")

    others = [Source("gone", failing, category="rain"), *as_sources([noise(800)], RATE)]
    monkeypatch.setattr("envsound.evaluation.spaces.embeddings.BATCH_SIZE", 3)
    heard = hear_classes({"generated": [*others, *loud_and_soft(5, 2)]}, {"level": Loudness()}, 24_000)
    assert heard["clip"].tolist() == [f"clip {i}" for i in range(10)]
    assert np.flatnonzero(~heard["is_right"]).tolist() == [0, 1]
    with pytest.raises(InputError, match="no clip with a category"):
        hear_classes({"generated": others}, {"level": Loudness()}, RATE)


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
    table = train_on_mixes(pools, test, mixes, {"svm": train_recogniser}, RATE, seeds=[0, 1])
    assert list(table.columns) == MIX_COLUMNS and len(table) == 6 and set(table["n_training"]) == {8}
    accuracy = table.groupby("mix")["accuracy"].mean()
    assert accuracy["real"] >= 0.8 and accuracy["generated"] >= 0.8 and accuracy["wrong"] <= 0.2
    assert set(table["n"]) == {12} and set(table["chance"]) == {0.5}


def test_a_mix_draws_each_class_evenly_and_by_seed(pools):
    mix = Mix("both", {"real": 3, "generated": 0})
    drawn = draw_mix(pools, mix, 0)
    assert len(drawn) == 2 * 3 + 8 and len({source.name for source in drawn}) == len(drawn)
    assert sorted(source.category for source in drawn) == ["cry"] * 7 + ["rain"] * 7
    assert drawn == draw_mix(pools, mix, 0) != draw_mix(pools, mix, 1)
    assert mix.composition == "3 real + all generated"


def test_mixes_differ_in_kind_and_have_all_of_both_beside(pools):
    pools = {**pools, "codec": pools["real"]}
    mixes = mixes_of(pools["real"], pools["generated"])
    sizes = {mix.name: len(draw_mix(pools, mix, 0)) for mix in mixes}
    names = ["real", "all real", "codec", "generated", "half real, half generated", "real and generated"]
    assert sizes == dict(zip(names, [8, 12, 8, 8, 8, 20], strict=True))
    assert "half" not in " ".join(mix.name for mix in mixes_of(pools["real"][:2], pools["generated"]))
    untold = [replace(source, category="") for source in pools["generated"]]
    assert mixes_of(pools["real"], untold) == mixes_of(pools["real"], pools["generated"][::2]) == []


def test_test_clips_are_in_no_pool_and_mixes_that_cannot_be_drawn_are_refused(pools):
    with pytest.raises(InputError, match="test: g0 is in a pool, too"):
        train_on_mixes(pools, pools["generated"], [], {}, RATE)
    for n_per_class, message in (({"noise": 1}, "no pool 'noise'"), ({"real": 7}, "6 clips of 'cry'")):
        with pytest.raises(InputError, match=message):
            draw_mix(pools, Mix("x", n_per_class), 0)
