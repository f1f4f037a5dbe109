"""The study of language models: measures are what they say, and a report of three small runs fills its page."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes.aisfx import make_package
from fakes.notebooks import run_cells
from fakes.runs import staging
from fakes.sounds import sound
from matplotlib.text import Text

from envsound import cli
from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_wav
from envsound.base.paths import find_root
from envsound.run.publish import publish_any
from envsound.studies.language import page
from envsound.studies.language.chroma import ANY, SAME_CLASS, chroma_table, chromagram, similarity
from envsound.studies.language.comparing import passes
from envsound.studies.language.figures import PANELS, compared_dots
from envsound.studies.language.following import KINDS, NAMED, UNNAMED, followed_table, word_table
from envsound.studies.language.learning import BY_SEGMENT, CLEAN, SAME_CLIPS, optimizer_table, segments
from envsound.systems.language.captions import Caption
from envsound.systems.language.text import load_encoder, told
from envsound.systems.soundstorm.batches import CodeSet

RATE, ROOT = 24_000, find_root()
SOUNDS = {"dog": "tick", "crying_baby": "cry", "rain": "rain"}
TITLES = {"dog": "my dog outside", "crying_baby": "upset child", "rain": "rain on a roof"}


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_a_tone_has_the_pitch_class_of_its_octaves_and_no_other():
    strongest = {hz: set(chromagram(tone(hz), RATE)[1:-1].argmax(1)) for hz in (220, 440, 880, 262)}
    assert strongest == {220: {9}, 440: {9}, 880: {9}, 262: {0}}
    found = [similarity(tone(220), tone(hz), RATE) for hz in (880, 262)]
    assert found[0]["one_hot"] > 0.8 > 0.3 > found[1]["plain"]


def test_similarity_is_one_with_itself_and_of_the_common_length():
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    found = similarity(noise, noise[: 2 * RATE], RATE)
    assert found["one_hot"] > 0.8 and found == similarity(noise[: 2 * RATE], noise, RATE)
    assert similarity(noise, noise, RATE) == {"one_hot": 1, "plain": pytest.approx(1)}
    silence = np.zeros(RATE, np.float32)  # alike by the public code's form alone
    assert similarity(silence, silence, RATE) == {"one_hot": 1, "plain": 0}
    assert chromagram(tone(440, 0.1), RATE).shape == (1, 12)


def test_chance_pairs_recordings_of_one_class_and_any_and_systems_with_their_own():
    real = [tone(220), tone(440), tone(262), tone(523)]
    made = {"copy": real, "other": real[::-1]}
    table = chroma_table(real, ["a", "a", "c", "c"], made, RATE).set_index("side")
    assert table.index.tolist() == [SAME_CLASS, ANY, "copy", "other"] and table["n"].eq(4).all()
    assert table.loc["copy", "one_hot"] == 1 and table.loc[SAME_CLASS, "one_hot"] > 0.7 > table.loc["other", "one_hot"]
    assert table.loc[SAME_CLASS, "one_hot"] > table.loc[ANY, "one_hot"]


class Follower:
    """A system whose sound is loud noise where the text says so, and else a quiet tone that follows the seed."""

    sample_rate, conditions, name = RATE, frozenset({"class", "text"}), "follower"
    encoder = load_encoder("bytes", ["loud rain on a roof", "big dog bark", "quiet rooster", "upset child outside"])

    def told(self, text):
        return told(self.encoder, text)

    def generate(self, requests):
        for one in requests:
            rng = np.random.default_rng(one.seed)
            noise = 0.25 * rng.standard_normal(round(one.seconds * RATE)).clip(-4, 4)
            yield noise if "loud" in one.text else 0.01 * tone(100 + 50 * (one.seed % 7), one.seconds)


CAPTIONS = [Caption("rain on a roof", "loud, noisy", "rain"), Caption("upset child", "", "crying_baby"),
            Caption("big dog", "quiet", "dog"), Caption("8", "loud", "dog")]  # fmt: skip


def test_captions_are_asked_by_kind_and_what_was_measured_is_held_against_chance():
    plain = SimpleNamespace(conditions=frozenset({"class"}), sample_rate=RATE, generate=Follower().generate)
    table = followed_table({"text": Follower(), "class": plain}, CAPTIONS, 1.0).set_index(["system", "kind"])
    assert set(table.loc["text"].index) == set(KINDS) and table.loc["class"].index.tolist() == ["class"]
    text = table.loc["text"]
    assert text.loc[[NAMED, UNNAMED], "n"].tolist() == [2, 1] and text.loc[UNNAMED, "n_left_out"] == 1  # "8" is no word
    measured = text.loc["measured"]
    assert measured["n"] == 3 and measured["n_words"] == 4 and measured["words_kept"] == 1 > measured["words_chance"]
    assert table["chance"].eq(0.1).all() and pd.isna(text.loc["category", "words_kept"])
    assert (table["heard_low"] <= table["heard"]).all() and (table["heard"] <= table["heard_high"]).all()


def test_one_word_is_worth_more_or_less_than_a_seed_or_nothing():
    pairs = [("rain", "loud rain"), ("rooster", "synthetic rooster"), ("dog", "big dog"), ("xyz", "rain")]
    table = word_table({"text": Follower()}, 1.0, 3, pairs=pairs).set_index("other")
    assert table.index.tolist() == ["loud rain", "synthetic rooster", "big dog"]  # of "xyz" nothing is known
    assert table.loc["loud rain", "level_db"] > 20 and table.loc["big dog", ["by_word", "ratio"]].eq(0).all()
    assert table["unknown"].tolist() == ["", "synthetic", ""] and (table["by_seed"] > 0).all()


def test_segments_are_cut_without_the_rest_and_keep_their_class():
    codes = [np.arange(4 * n).reshape(4, n).astype(np.int16) for n in (9, 3, 4)]
    cut = segments(CodeSet(codes, np.array([0, 1, 2]), ["a", "b", "c"]), 4)
    assert [one.shape for one in cut.codes] == [(4, 4)] * 3 and cut.classes.tolist() == [0, 0, 2]
    assert (cut.codes[1] == codes[0][:, 4:8]).all()
    with pytest.raises(InputError, match="every clip is shorter"):
        segments(CodeSet(codes, np.array([0, 1, 2]), ["a", "b", "c"]), 10)


@pytest.mark.parametrize(
    ("row", "n"),
    [
        ({"steps_per_level": "12 8 8 8", "guidance_scale": 2.0, "n_frames": 94}, 72),
        ({"steps_per_level": "12 0 0 1", "guidance_scale": 1.0, "n_frames": 94}, 201),
        ({"pattern": "delay", "guidance_scale": 1.0, "n_frames": 94}, 97),
        ({"pattern": "flattened", "guidance_scale": 2.0, "n_frames": 94}, 752),
    ],
)
def test_passes_of_the_whole_model_are_counted(row, n):
    assert passes(pd.DataFrame([row]), 4) == n


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three tiny finished runs on thirty clips of a second with titles, and the notebook's report of them."""
    folder, rows, told = tmp_path_factory.mktemp("language"), [], []
    for number in range(30):
        category = [*SOUNDS][number % 3]
        name, fold = f"{number // 6 + 1}-{number}-A-{number % 3}.wav", number // 6 + 1
        write_wav(folder / "data" / "audio" / name, sound(SOUNDS[category], number, RATE), RATE)
        rows.append((name, fold, number % 3, category, True))
        told.append((name.rpartition("-")[0], f"{TITLES[category]}.wav", "someone", "u", "CC0"))
    columns = ["filename", "fold", "target", "category", "esc10"]
    write_csv(folder / "data" / "meta" / "esc50.csv", pd.DataFrame(rows, columns=columns))
    credits_ = pd.DataFrame(told, columns=["clip", "title", "author", "url", "licence"])
    write_csv(folder / "data" / "attribution.csv", credits_)
    shared = {"dataset": "esc50", "data_dir": str(folder / "data"), "categories": [], "n_samples": 6, "dim": 32}
    shared |= {"clip_seconds": 1.0, "augment_copies": 0, "n_layers": 1, "n_heads": 2, "num_epochs": 1, "n_heard": 0}
    shared |= {"watch_every": 1, "start_from_codes": False}
    runs = {"masked": "language-masked-text", "language": "tiny-language", "text": "tiny-language-text"}
    for name, preset in runs.items():
        given = {"run_dir": str(folder / name), "preset": preset, "settings": shared}
        for step in ("01_encode_clips", "02_train_model", "03_sample_clips"):
            more = {"replace": True} if step == "03_sample_clips" else {}
            run_cells(ROOT / "notebooks" / f"{step}.ipynb", given | more)
    runs = {name: str(folder / name) for name in runs}
    given = {"compared": runs, "told": runs, "taught": runs["language"]}
    given |= {"package": str(make_package(folder / "judge")), "run_dir": str(folder / "report"), "n_steps": 3}
    given |= {"listener_epochs": 1, "n_seeds": 2, "n_timed": 1, "device": "cpu"}
    run_cells(ROOT / "notebooks" / "studies" / "21_language_models.ipynb", given)
    return SimpleNamespace(folder=folder, report=folder / "report", runs=runs)


def test_the_report_sets_models_side_by_side_with_their_cost(made):
    compared = read_csv(made.report / "compared.csv").set_index("side")
    assert {"real", "codec", "bigram", "unigram", *made.runs} == set(compared.index)
    models = compared.loc[[*made.runs]]
    assert models["n_candidates"].eq(1).all() and models["passes"].tolist() == [72, 44, 44]
    assert models[["n_parameters", "n_steps", "loss", "heard", "probe", "kad", "largest_ks"]].notna().all(axis=None)
    followed = read_csv(made.report / "followed.csv").groupby("system")["kind"].agg(set)
    assert followed["language"] == {"class"} and followed["masked"] == followed["text"] >= {NAMED, "category"}
    assert compared.loc["real", "diversity"] == 1 and compared.loc["codec", ["passes", "n_steps"]].isna().all()
    learnt = read_csv(made.report / "learnt.csv")
    assert set(learnt["model"]) == {"language", "text"} and learnt["level"].tolist() == ["0", "1", "2", "3", "all"] * 2
    tried = read_csv(made.report / "settings.csv")  # of the first of each kind that is told no text
    assert tried["side"].tolist() == ["language"] * 6 and tried["n"].eq(6).all() and tried["kad"].notna().all()
    assert not tried.duplicated(["top_p", "guidance_scale"]).any() and tried["n_silent"].between(0, 6).all()
    latency = read_csv(made.report / "latency.csv").set_index(["system", "batch"])
    assert latency.loc[("language", 1), "passes"] == 22 and set(latency.index.levels[0]) == {*made.runs}
    assert np.allclose(learnt["perplexity"], np.exp(learnt["loss"]))


def test_a_leak_and_the_optimizers_are_trained_as_the_run_was(made):
    leak = read_csv(made.report / "leak.csv").set_index("split")
    assert leak.index.tolist() == [CLEAN, BY_SEGMENT, SAME_CLIPS] and leak["n_steps"].eq(3).all()
    assert leak["n_watched"].nunique() == 1 and leak["n_train"].nunique() == 1
    assert leak.loc[SAME_CLIPS, "unigram"] < leak.loc[CLEAN, "unigram"]  # counts of what is watched itself
    optimizers = read_csv(made.report / "optimizers.csv").fillna({"note": ""})
    assert len(optimizers) == 8 and optimizers.loc[optimizers["optimizer"] == "AdamW", "loss"].notna().all()
    noted = optimizers["loss"].isna()
    assert (optimizers.loc[noted, "note"] != "").all() and optimizers.loc[~noted, "perplexity"].notna().all()
    with pytest.raises(InputError, match="is told a text"):
        optimizer_table(made.runs["text"], made.folder, 1, "cpu")


def test_a_description_is_followed_from_the_command_line(made, tmp_path, capsys):
    asked = ["sample", "distant thunder, then rain", "--system", made.runs["text"], "--seconds", "0.5"]
    assert cli.main([*asked, "--device", "cpu", "--out", str(tmp_path / "made")]) == 0
    told_first = capsys.readouterr().out.splitlines()[0]
    assert told_first == "text: distant, thunder, then: in no caption that it learnt from; used 'rain'"
    row = read_csv(tmp_path / "made" / "samples.csv").iloc[0]
    assert row["text"] == "rain" and (tmp_path / "made" / row["filename"]).is_file()
    asked = ["sample", "a text", "--system", made.runs["language"], "--out", str(tmp_path / "not")]
    assert cli.main(asked) == 1 and "not a class of the model" in capsys.readouterr().err


def test_the_report_is_published_and_fills_its_page(made, tmp_path):
    published = tmp_path / "data" / "published"
    publish_any(made.report, page.REPORTS, published / page.REPORT)
    (published / "siblings").mkdir()
    (published / page.SIBLINGS).write_bytes((ROOT / "data" / "published" / page.SIBLINGS).read_bytes())
    book = staging(tmp_path)
    page.stage(book)
    text = {path.stem: path.read_text() for path in (tmp_path / "book" / "executed" / "language").glob("*.txt")}
    assert "figure" in text["compared"] and "masked" in text["compared"] and "figure" in text["leak"]
    assert text["sounds"].count("<audio") == 9 and "someone" not in text["sounds"]
    assert "“rain on roof”" in text["told"] and text["told"].count("<audio") == 6
    for name in ("learnt", "followed", "chroma", "optimizers"):
        assert "csv" in text[name], name
    assert "23 of 34 (51% to 81%)" in text["matches"] and "first sound s" in text["latency"]
    found = page.facts(published)["language"]
    assert found["printed"]["mean_quality"] == "4.78" and found["printed"]["printed_quality"] == "4.93"
    assert found["printed"]["answers"] == "35" and found["leak"][CLEAN]["n_steps"] == "3"
    assert str(found["compared"]["masked"]["passes"]) == "72" and "one_hot" in found["chroma"]["codec"]


def test_titles_of_panels_do_not_run_into_each_other():
    fig = compared_dots(read_csv(ROOT / "data" / "published" / "language" / "compared.csv"))
    fig.draw_without_rendering()
    boxes = [one.get_window_extent() for one in fig.findobj(Text) if one.get_text() in PANELS.values()]
    assert len(boxes) == len(PANELS) and max(box.x1 for box in boxes) <= fig.bbox.x1
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_without_a_report_the_page_says_so(tmp_path):
    page.stage(staging(tmp_path))
    folder = Path(tmp_path / "book" / "executed" / "language")
    assert "Nothing published" in (folder / "result.txt").read_text() and (folder / "words.txt").read_text() == "\n"
    assert str(page.facts(tmp_path)["language"]["leak"]["by recording"]["loss"]) == "not measured"
