"""Who judged a run's settings: read from its record and the published one, noted, and never a reporter unmarked."""

from types import SimpleNamespace

import pytest
from fakes.codecs import noise, tone

from envsound.base.errors import InputError
from envsound.base.files import write_json
from envsound.evaluation.listeners.mfcc import train_recogniser
from envsound.evaluation.selectors import SAME, STEP, Selectors, read_selectors

SVM = "MFCC and SVM"


def record(folder, **facts) -> None:
    write_json(folder / "provenance.json", {"steps": {STEP: {"facts": facts}}})


def test_the_judges_of_the_run_and_of_its_published_preset_are_read(tmp_path):
    run, published = tmp_path / "esc10" / "fold1_seed1", tmp_path / "published"
    assert read_selectors(run, published=published) == Selectors()
    record(published / "esc10", selected_by={SVM: "a"}, recogniser=SVM)
    record(published / "wide", selected_by={"CNN": "b"})
    assert read_selectors(run, published=published) == Selectors(frozenset("a"), frozenset([SVM]))
    record(run, selected_by={"CNN": "c"})
    found = read_selectors(run, ["d"], published)
    assert found == Selectors(frozenset("acd"), frozenset([SVM, "CNN"]))


def test_a_record_without_hashes_still_names_the_kind(tmp_path):
    record(tmp_path / "esc10" / "run", recogniser=SVM)
    found = read_selectors(tmp_path / "esc10" / "run", published=tmp_path / "none")
    assert found == Selectors(frozenset(), frozenset([SVM]))
    record(tmp_path / "esc10" / "run", recogniser="", selected_by={})
    assert read_selectors(tmp_path / "esc10" / "run", published=tmp_path / "none") == Selectors()


def test_the_same_listener_and_one_of_its_kind_have_notes_of_their_own():
    selectors = Selectors(frozenset(["a"]), frozenset([SVM]))
    listeners = {
        "same": SimpleNamespace(content_hash="a", kind=SVM),
        "alike": SimpleNamespace(content_hash="b", kind=SVM),
        "other": SimpleNamespace(content_hash="c"),
        "plain": SimpleNamespace(),
    }
    notes = selectors.notes(listeners)
    assert notes["same"] == SAME and notes["alike"].startswith(f"another {SVM} judged")
    assert notes["other"] == notes["plain"] == ""
    anew = selectors.notes(listeners, are_trained_anew=True)
    assert anew["same"] == anew["alike"] == notes["alike"]
    assert set(Selectors().notes(listeners).values()) == {""}


def test_a_judge_of_the_settings_may_not_report():
    selectors = Selectors(frozenset(["a"]), frozenset([SVM]))
    selectors.check({"alike": SimpleNamespace(content_hash="b", kind=SVM), "plain": SimpleNamespace()})
    with pytest.raises(InputError, match="listener 'cnn': selected the model"):
        selectors.check({"cnn": SimpleNamespace(content_hash="a")})


def test_the_hash_of_a_recogniser_follows_its_training_clips_and_classes():
    clips, names = [noise(4000), tone(4000, 300), noise(4000, seed=2), tone(4000, 500)], ["noise", "tone"] * 2
    first, again = (train_recogniser(clips, names, 16_000) for _ in range(2))
    others = train_recogniser([*clips[:3], tone(4000, 700)], names, 16_000)
    renamed = train_recogniser(clips, [f"a {name}" for name in names], 16_000)
    assert first.content_hash == again.content_hash
    assert len({one.content_hash for one in (first, others, renamed)}) == 3
    assert first.kind == others.kind == SVM
