"""`envsound sample`: wav files, a table and a page; what cannot be asked for is one line and leaves nothing."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.soundstorm import small_checkpoint, small_codec

from envsound import cli
from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_json, write_wav
from envsound.report.sounds import PAGE, TABLE, hear, sounds_page
from envsound.systems.base import Request
from envsound.systems.sampling import check_told
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.generator import Generator
from envsound.systems.soundstorm.system import SoundStorm


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Run `envsound sample` in a folder of its own, with a small untrained generator in place of the one that ships."""
    small = Generator(SoundStorm(small_checkpoint(), small_codec(), DecodingConfig((2, 1), fine_temperature=1.0)))
    monkeypatch.setattr("envsound.systems.soundstorm.generator.load_generator", lambda device: small)
    monkeypatch.chdir(tmp_path)
    return lambda *words: cli.main(["sample", *map(str, words)])


def test_a_folder_of_sounds_with_table_and_page(sample, tmp_path, capsys):
    asked = ("rain", "--count", 2, "--seconds", 0.4, "--seed", 5, "--out", "made/rain")
    assert sample(*asked) == 0 and "2 sounds: made/rain/index.html" in capsys.readouterr().out
    folder = tmp_path / "made" / "rain"
    rows, page = read_csv(folder / TABLE), (folder / PAGE).read_text()
    assert rows["category"].tolist() == ["rain"] * 2 and set(rows["n_candidates"]) == {1}
    for name in rows["filename"]:
        info = soundfile.info(folder / name)
        assert (info.samplerate, info.subtype, info.channels, info.frames) == (24_000, "PCM_16", 1, 30 * 320)
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(linked) == 5 and all((folder / name).is_file() for name in linked)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sample(*asked) == 0  # again: the same
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_like_a_recording_and_the_best_of_several(sample, tmp_path, monkeypatch):
    write_wav(tmp_path / "clip.wav", 0.2 * np.random.default_rng(0).standard_normal(4800), 24_000)
    assert sample("dog", "--like", "clip.wav", "--seconds", 0.2, "--out", "on") == 0
    assert sample("dog", "--like", "clip.wav", "--share", 0.5, "--out", "varied") == 0
    assert [read_csv(f"{name}/samples.csv")["n_frames"].item() for name in ("on", "varied")] == [30, 15]
    scorer = "envsound.evaluation.listeners.shipped.ClassScorer"
    monkeypatch.setattr(f"{scorer}.__call__", lambda self, clips, categories: np.arange(len(clips)))
    monkeypatch.setattr(f"{scorer}.content_hash", "h")
    assert sample("dog", "--candidates", 3, "--seconds", 0.2, "--out", "best") == 0
    row = read_csv("best/samples.csv").iloc[0]
    assert (row["n_candidates"], row["score"]) == (3, "h") and "best of 3" in (tmp_path / "best" / PAGE).read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [(["rian"], "'rain'"), (["elephant"], "dog, rain"), (["rain", "--count", "0"], "count=0"),
     (["rain", "--seconds", "-1"], "seconds=-1"), (["rain", "--candidates", "0"], "n_candidates=0"),
     (["rain", "--like", "no.wav"], "no such file"), (["rain", "--share", ".5"], "share=0.5"),
     (["rain", "--out", "full"], "full: holds files"),
     (["rain", "--out", "full/mine.txt"], "mine.txt: is a link or a file")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_touches_nothing(sample, tmp_path, capsys, words, told):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert sample(*words) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("envsound sample: ") and "\n" not in printed and told in printed
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "mine.txt"]


def test_a_run_is_sampled_as_a_loop_without_naming_a_class(sample, tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    record = {"02_train_model": {"parameters": {"preset": "tiny-montage"}}}
    write_json(tmp_path / "run" / "provenance.json", {"steps": record})
    monkeypatch.setattr("envsound.systems.sampling.load_recipe", lambda name: Named(name))
    asked = ("--system", "run", "--count", 2, "--seconds", 1.0, "--loop")
    assert sample(*asked, "--out", "made") == 0
    rows = read_csv("made/samples.csv")
    assert rows["category"].tolist() == ["montage", "sea"] and rows["loop"].all() and set(rows["seconds"]) == {1.0}
    clip, rate = soundfile.read("made/0000_montage.wav")
    assert len(clip) == rate and abs(clip[0] - clip[-1]) < 1.5 * np.abs(np.diff(clip)).max()
    for words, told in ((("dog", "--system", "none"), "holds no trained model"), (("dog", *asked), "category='dog'"),
                        ((*asked, "--like", "clip.wav"), "goes on from no recording")):  # fmt: skip
        assert sample(*words, "--out", "not") == 1 and told in capsys.readouterr().err
    assert sample(*asked[:-3], "--seconds", 0.2, "--loop", "--out", "short") == 1


class Named:
    """A recipe and system whose clips are a sine of no whole period; its first class is its name."""

    sample_rate, content_hash, conditions = 24_000, "sine", frozenset({"class"})

    def __init__(self, name):
        self.name, self.categories = name, [name, "sea"]

    def load(self, settings, run, device):
        assert settings["options"]["atom_seconds"] == 3.0 and str(device) == "cpu"
        return self

    def generate(self, requests):
        for request in requests:
            time = np.arange(round(request.seconds * self.sample_rate)) / self.sample_rate
            yield (0.3 * np.sin(2 * np.pi * 441.7 * time)).astype(np.float32)

    def describe(self, request):
        return {"seconds": request.seconds}


class Told(Named):
    """One that follows texts, of words that are longer than three letters."""

    conditions = frozenset({"class", "text"})

    def told(self, text):
        known = " ".join(word for word in text.split() if len(word) > 3)
        return known, f"text: used {known!r}" if known != text else ""

    def describe(self, request):
        return super().describe(request) | {"text": request.text}


def test_a_description_is_told_to_a_system_that_follows_one(sample, tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    record = {"02_train_model": {"parameters": {"preset": "tiny-montage"}}}
    write_json(tmp_path / "run" / "provenance.json", {"steps": record})
    monkeypatch.setattr("envsound.systems.sampling.load_recipe", Told)
    asked = ("--system", "run", "--seconds", 0.2)
    assert sample("distant <i> thunder", *asked, "--out", "made") == 0
    assert "text: used 'distant thunder'" in capsys.readouterr().out
    row = read_csv("made/samples.csv").fillna("").iloc[0]
    assert (row["filename"], row["category"], row["text"]) == ("0000.wav", "", "distant thunder")
    assert "<h1>distant thunder</h1>" in Path("made/index.html").read_text()
    assert sample("sea", *asked, "--out", "sea") == 0 and read_csv("sea/samples.csv")["category"].tolist() == ["sea"]
    assert sample("distant thunder", *asked, "--candidates", 2, "--out", "not") == 1  # no class to choose by
    with pytest.raises(InputError, match="montage: is told no text; expected requests without"):
        check_told(Named("montage"), [Request("a.wav", "", 1.0, 0, text="thunder")])


def test_a_notebook_hears_what_the_command_makes(sample, tmp_path):
    from envsound.systems.soundstorm import generator

    asked = {"category": "dog", "seconds": 0.2, "count": 1, "seed": 3}
    (tmp_path / "notebooks").mkdir()
    shown = hear(generator.load_generator("cpu"), **asked)
    sample("dog", "--seconds", 0.2, "--seed", 3, "--out", "made")
    linked = [tmp_path / "notebooks" / name for name in re.findall(r'src="([^"]+)"', shown)]
    assert len(linked) == 2 and linked[0].read_bytes() == (tmp_path / "made" / "0000_dog.wav").read_bytes()
    assert linked[1].is_file()


def test_names_from_anywhere_are_text_on_the_page():
    row = {"filename": "0000_dog.wav", "category": "dog", "seconds": 1.0, "seed": 1, "n_candidates": 1}
    page = sounds_page(pd.DataFrame([row | {"like": '<b>"x".wav', "share": 0.0}]))
    assert "<b>" not in page and "&lt;b&gt;" in page
