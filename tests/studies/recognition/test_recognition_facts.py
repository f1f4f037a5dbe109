"""What the tables say of a recogniser: its kind, what it learnt from, and what its codec has met."""

from pathlib import Path

import numpy as np
import pytest
from fakes.recognition import Knower, codec_that_met, made_up_clips

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_json
from envsound.base.paths import find_root
from envsound.codec import BUNDLED
from envsound.studies.recognition.facts import codec_label, codec_of, heard_clips, kind_of, learnt_from, met_recordings
from envsound.studies.recognition.recognisers import KINDS, make_recogniser
from envsound.studies.recognition.rounds import Clips, cross_validation

READ_CODES = {"codec_probe", "conformer_frozen", "conformer_probe", "conformer_finetuned"}
REFITTED = {"codec_probe", "mfcc_svm", "ast_probe", "conformer_probe"}
ROUND = cross_validation(made_up_clips(2, 5), [1])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_known_and_by_default_reads_codes_and_is_refitted_as_the_chapter_says(kind):
    one = make_recogniser(kind, {"device": "cpu"} if kind != "mfcc_svm" else {})
    assert kind_of(one) == kind and (codec_of(one) == "bundled") == (kind in READ_CODES)
    assert len(set(learnt_from(one, ROUND).folds.tolist())) == (4 if kind in REFITTED else 3)


def test_a_refit_of_the_network_is_told_from_its_settings():
    assert learnt_from(make_recogniser("cnn", {"refit": True}), ROUND).digest == ROUND.train_and_validation.digest
    assert kind_of(Knower()) == "other" and codec_of(Knower()) == ""


def test_a_codec_is_named_without_the_folder_of_its_file():
    assert [codec_label(codec) for codec in ("", "bundled", "/home/me/fine.safetensors")] == ["none", "bundled", "fine"]


def test_the_bundled_codec_has_met_what_its_attribution_lists_and_nothing_of_the_fold_its_card_holds_out():
    folder = (find_root() / BUNDLED).parent
    listed, card = read_csv(folder / "attribution.csv"), read_json(folder / "card.json")
    held_out = card["training"]["held_out_fold"]
    files = [Path(f"{clip}-7.ogg") for clip in listed["clip"]]  # as in any copy of ESC-50, with the class at the end
    unheard = [Path(f"{held_out}-9{number}-A-7.ogg") for number in range(3)]
    clips = Clips(files + unheard, files + unheard, np.zeros(len(files) + 3, int), np.zeros(len(files) + 3, int), ["a"])
    assert heard_clips(met_recordings("bundled"), clips).tolist() == [1] * len(listed) + [0] * 3
    assert held_out not in set(listed["fold"])


def test_another_cut_of_a_recording_counts_as_met(tmp_path):
    met = met_recordings(codec_that_met(tmp_path, ["3-55-A", "own_sound"]))
    files = [Path(name) for name in ("3-55-B-1.wav", "4-55-C-1.ogg", "55-3-0-12.wav", "3-56-A-1.wav", "own_sound.wav")]
    clips = Clips(files, files, np.zeros(5, int), np.zeros(5, int), ["a"])
    assert heard_clips(met, clips).tolist() == [1, 1, 1, 0, 1]


def test_what_is_not_known_to_be_met_is_not_called_unmet(tmp_path):
    assert met_recordings("") == frozenset() and met_recordings("encodec_24khz") is None
    codec = codec_that_met(tmp_path, ["1-1-A"])
    write_json(tmp_path / "card.json", {"content_hash": "of another codec"})
    assert met_recordings(codec) is None and np.isnan(heard_clips(None, ROUND.test)).all()


def test_a_list_that_names_no_clip_is_refused(tmp_path):
    codec = codec_that_met(tmp_path, ["1-1-A"])
    write_csv(tmp_path / "attribution.csv", read_csv(tmp_path / "attribution.csv")[["fold"]])
    with pytest.raises(InputError, match=r"attribution\.csv: names no clip"):
        met_recordings(codec)
