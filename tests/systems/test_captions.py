"""Captions: titles become words, words of classes go, what is measured is told, draws follow seed and name alone."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_wav
from envsound.base.paths import find_root
from envsound.data.licences import read_licences
from envsound.systems.language.captions import (
    FILE,
    KINDS,
    Caption,
    Captions,
    clean_title,
    measured_words,
    names_class,
    read_captions,
    titles_of,
    without_classes,
    words_of,
    write_captions,
)

TITLES = {
    "BabyCrying_02 96kHz.wav": "baby crying",
    "20060810.peters.clock.01.flac": "peters clock",
    "Fire_Crackles(No Room).wav": "fire crackles no room",
    "sea \\u200b\\u200bon the road": "sea on the road",
    "Rooster at Max's.mp3": "rooster at max's",
    "<b>wind</b> &amp; RRMX https://x.org/a.wav": "wind",
    "080320.MP3": "",
}


@pytest.mark.parametrize("title, words", TITLES.items())
def test_a_title_becomes_words(title, words):
    assert clean_title(title) == words


@given(st.text())
def test_any_title_becomes_small_words_and_stays_so(title):
    cleaned = clean_title(title)
    assert cleaned == cleaned.lower() and not any(letter.isdigit() or letter in "._<>" for letter in cleaned)
    assert words_of(cleaned) == cleaned.split() and all(len(word) > 1 for word in cleaned.split())


def test_words_of_a_class_are_found_in_compounds_and_other_languages_and_go():
    for text, category in (("campfire", "crackling_fire"), ("tickende uhr", "clock_tick"), ("my dogs", "dog"),
                           ("siren of a car", "car_horn"), ("mantelclocks", "clock_tick")):  # fmt: skip
        assert names_class(text, category) and not names_class(without_classes(text, [category]), category)
    assert not names_class("the night baltic", "sea_waves") and without_classes("rain, and dogs") == "and"


def test_few_titles_of_the_recordings_that_ship_do_not_name_their_class():
    root = find_root() / "data" / "material"
    classes = pd.read_csv(root / "meta" / "esc50.csv").set_index("filename")["category"]
    titles = read_licences(root).set_index("clip")["title"]
    named = [names_class(clean_title(titles[name.rpartition("-")[0]]), own) for name, own in classes.items()]
    assert len(named) == 398 and named.count(False) == 25
    assert titles_of(root / "audio" / "1-100032-A-0.ogg")["1-100032-A"] == "rose_bark.wav"


def test_what_was_measured_is_told_beyond_the_bounds_alone():
    middle = {"rms": 0.1, "spectral_centroid_hz": 3000, "crest_db": 18, "harmonicity": 0.4, "envelope_repetition": 0.3}
    assert measured_words(pd.Series(middle)) == ""
    far = middle | {"rms": 0.2, "spectral_centroid_hz": 500, "crest_db": 30, "harmonicity": np.nan}
    assert measured_words(pd.Series(far)) == "loud, deep, separate sounds"


CAPTION = Caption("big dog outside", "loud, deep", "dog")


def test_a_title_mostly_stands_alone_and_is_merged_as_often_as_musicgen_does():
    drawn = Counter(CAPTION.merged(np.random.default_rng(seed)) for seed in range(4000))
    both = {"big dog outside. loud, deep. dog", "big dog outside. dog. loud, deep"}
    alone, rest = drawn["big dog outside"] / 4000, sum(drawn[one] for one in both) / 4000
    assert abs(alone - (0.75 + 0.25 * 0.25)) < 0.02 and abs(rest - 0.25 * 0.5 * 0.25) < 0.01  # neither kept: alone, too
    assert set(drawn) - both == {
        "big dog outside", "big dog outside. loud, deep", "big dog outside. dog",
        "loud, deep", "dog", "loud, deep. dog", "dog. loud, deep",
    }  # fmt: skip


def test_kinds_of_a_caption_and_what_stands_for_a_title_that_is_not_there():
    told = ["big dog outside", "loud, deep", "dog", "big outside. loud, deep"]
    assert [CAPTION.of_kind(kind) for kind in KINDS] == told
    untitled = Caption("", "", "sea_waves")
    assert untitled.of_kind("title") == "sea waves" == untitled.merged(np.random.default_rng(0))
    assert untitled.of_kind("blind") == ""
    assert Caption("siren far away", "", "siren").of_kind("blind") == "far away"  # a class of others' recordings, too


def test_choices_begin_with_the_title_and_depend_on_seed_and_name_alone():
    names = [f"{place}-1-A" for place in range(60)]
    drawn = Captions(names, [CAPTION] * 60).choices(0)
    assert Captions(names[5:6], [CAPTION]).choices(0) == drawn[5:6] and {len(own) for own in drawn} == {8}
    assert {own[0] for own in drawn} == {"big dog outside"} and len({tuple(own) for own in drawn}) > 30
    assert Captions(names, [CAPTION] * 60).choices(1) != drawn
    assert Captions(names, [CAPTION] * 60).words() == ["big dog outside", "dog", "loud, deep"]


def test_a_runs_captions_are_written_and_read_and_copies_tell_nothing_measured(tmp_path):
    rate, loud = 24_000, 0.3 * np.random.default_rng(0).standard_normal(24_000).clip(-3, 3)
    write_wav(tmp_path / "audio" / "1-7-A-0.wav", loud.astype(np.float32), rate)
    row = {
        "clip_id": "1-7-A-0",
        "filename": "1-7-A-0.wav",
        "category": "rain",
        "path": str(tmp_path / "audio" / "1-7-A-0.wav"),
    }
    write_csv(tmp_path / "attribution.csv", pd.DataFrame([{
        "clip": "1-7-A", "title": "Gentle_rain02.wav", "author": "a", "url": "u", "licence": "CC0"
    }]))  # fmt: skip
    write_captions(tmp_path, SimpleNamespace(table=pd.DataFrame([row]), sample_rate=rate, clip_seconds=5))
    own, copy = read_captions(tmp_path, ["1-7-A-0", "1-7-A-0+3"]).captions
    assert own == Caption("gentle rain", "loud, bright, steady, noisy", "rain")
    assert copy == Caption("gentle rain", "", "rain")
    with pytest.raises(InputError, match=r"no caption of '2-1-A'"):
        read_captions(tmp_path, ["2-1-A"])
    write_csv(tmp_path / FILE, pd.DataFrame([{"clip_id": "1-7-A-0"}]))
    with pytest.raises(InputError, match="lacks the column category"):
        read_captions(tmp_path, [])


def test_recordings_of_ones_own_have_no_titles(tmp_path):
    assert titles_of(tmp_path / "x" / "a.wav") == {}
    (tmp_path / "LICENSE").write_text("MIT")
    assert titles_of(tmp_path / "x" / "a.wav") == {}
