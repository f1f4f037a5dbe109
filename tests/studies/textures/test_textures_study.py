"""The study of textures: its references are what they say, and a report of two small runs fills its page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.notebooks import run_cells
from fakes.runs import staging

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.base.paths import find_root
from envsound.report.fragments import table_of
from envsound.run.presets import load_preset
from envsound.run.publish import publish_any
from envsound.studies.textures import page
from envsound.studies.textures.measuring import centroids, in_seconds, leak_table, oracle_noise
from envsound.studies.textures.page import source_rows
from envsound.studies.textures.report import SourceData, make_report
from envsound.studies.textures.source import BY_RECORDING, COMBINED, RANDOM, source_tables, split_seconds
from envsound.systems.kept import Sounds

RATE = 24_000


def coloured(low: float, seed: int, seconds: float = 2.0) -> np.ndarray:
    """Return noise below a frequency, Hz, float32 [n_samples] of rms 0.1."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(seconds * RATE)))
    spectrum[round(low * seconds) :] = 0
    clip = np.fft.irfft(spectrum)
    return (0.1 * clip / clip.std()).astype(np.float32)


def test_noise_that_knows_the_spectrogram_is_as_loud_and_as_coloured_but_another_one():
    clip = coloured(3_000, 0)
    noise = oracle_noise(clip)
    assert noise.shape == clip.shape and abs(20 * np.log10(noise.std() / clip.std())) < 0.5
    assert abs(np.corrcoef(noise, clip)[0, 1]) < 0.1
    assert abs(np.median(centroids(noise, RATE)) / np.median(centroids(clip, RATE)) - 1) < 0.1


def test_a_split_over_seconds_has_every_recording_on_both_sides_and_nearer_neighbours():
    clips = [coloured(500 * 1.5**place, place, 6.0) for place in range(8)]
    names = [f"1-{place}-A-1" for place in range(8)]
    sides = [Sounds(clips[:6], names[:6], ["rain"] * 6, RATE), Sounds(clips[6:], names[6:], ["rain"] * 2, RATE)]
    found = leak_table(*sides, share=0.2).set_index("split")
    assert found.loc["by recording", "same_recording"] == 0 and found.loc["random over seconds", "same_recording"] == 1
    assert found.loc["random over seconds", "nearest"] < found.loc["by recording", "nearest"] / 2
    assert in_seconds(clips[0], RATE).shape == (6, RATE)


class Clips:
    """Recordings of noise, a colour a class, two seconds and a bit each, in two folds."""

    sample_rate = 16_000
    table = pd.DataFrame({"clip_id": list("abcdefgh"), "category": ["rain", "surf"] * 4, "fold": [1] * 2 + [2] * 6})

    def load(self, name: str) -> np.ndarray:
        place = "abcdefgh".index(name)
        return coloured(1_000 * (1 + place % 2), place, 2.2)


def test_seconds_are_split_by_recording_and_at_random_and_each_scope_has_its_models(tmp_path):
    splits = split_seconds(Clips(), 1, 0)
    sizes = {name: (len(learnt.clips), len(held.clips)) for name, (learnt, held) in splits.items()}
    assert set(sizes.values()) == {(3 * 6, 3 * 2)} and len(splits[RANDOM][1].clips[0]) == 16_000
    owners = {name: [{one.split("_")[0] for one in side.names} for side in split] for name, split in splits.items()}
    assert not set.intersection(*owners[BY_RECORDING]) and set.intersection(*owners[RANDOM])
    settings = load_preset("tiny-ddsp") | {"max_steps": 2, "seed": 0}
    scopes = {BY_RECORDING: ["surf", COMBINED], RANDOM: []}
    found = source_tables(splits, {"DDSP": settings}, tmp_path, torch.device("cpu"), scopes)
    rows = found.set_index(["split", "scope", "category", "side"])
    assert rows.loc[BY_RECORDING, "surf"].index.tolist() == [("surf", "DDSP")]
    assert rows.loc[BY_RECORDING, COMBINED].index.tolist() == [("rain", "DDSP"), ("surf", "DDSP")]
    assert (rows["mstft"] > 0).all() and rows.loc[(RANDOM, "", "rain", "oracle noise"), "relative"] < 0.8
    shown = source_rows(found)
    assert len(shown) == 2 + 2 * 3
    of_surf = next(line for line in table_of(shown) if "| surf |" in line)
    assert of_surf.count(" – |") == 3 and "| surf | DDSP | – | – | – |" in of_surf  # nothing of rain


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A tiny run of a texture model and of the montage, trained by notebooks 01 and 02."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for name, preset in (("DDSP", "tiny-ddsp"), ("montage", "tiny-montage")):
        settings = {"clip_seconds": 4.0, "n_heard": 0}
        for step in ("01_encode_clips", "02_train_model"):
            given = {"run_dir": str(folder / name), "preset": preset, "settings": settings}
            run_cells(find_root() / "notebooks" / f"{step}.ipynb", given)
        found[name] = str(folder / name)
    return found


def test_a_report_of_two_runs_is_published_and_shown(runs, tmp_path):
    given = {"runs": runs, "n_clips": 4, "n_pairs": 1, "run_dir": str(tmp_path / "made")}
    given |= {"cache_dir": str(tmp_path / "cache"), "device": "cpu"}
    run_cells(find_root() / "notebooks" / "studies" / "20_sound_textures.ipynb", given)
    made = tmp_path / "made"
    generated = read_csv(made / "generated.csv").set_index("system")
    made_anew = {"DDSP", "montage", "DDSP, normal", "DDSP, trajectory"}
    assert set(generated.index) == made_anew | {"recordings learnt", "codec", "DDSP: what it keeps"}
    assert generated.loc["montage", "run_p90"] > 20 > generated.loc["DDSP", "run_p90"]
    assert set(read_csv(made / "by_class.csv")["system"]) == {"real", *generated.index}
    kept = read_csv(made / "kept.csv").set_index(["category", "side"])["relative"]
    assert kept["rain", "silence"] == 1 and 0.4 < kept["rain", "oracle noise"] < 0.6 < kept["rain", "DDSP"] + 0.2
    sounds = read_csv(made / "sounds.csv")
    assert set(sounds["category"]) == {"rain", "sea_waves"} and (made / "sounds" / sounds["file"][0]).stat().st_size > 0
    source = {"split": "by recording", "scope": "combined", "side": "DDSP", "category": "rain"}
    numbers = {"mstft": 0.02, "relative": 0.5, "level_db": -1.0, "fad": 3.0}
    write_csv(made / "source.csv", pd.DataFrame([source | numbers]))
    publish_any(made, page.REPORTS, tmp_path / "data" / "published" / page.REPORT)
    book = staging(tmp_path)
    page.stage(book)
    text = {name: (tmp_path / "book/executed/textures" / f"{name}.txt").read_text() for name in
            ("result", "kept", "between", "leak", "generated", "models", "sounds")}  # fmt: skip
    assert "oracle noise" in text["kept"] and "figure" in text["kept"]
    assert "spearman" in text["between"] and "found" in text["generated"]
    assert "tiny" not in text["models"] and "DDSP" in text["models"] and "<audio" in text["sounds"]
    told = page.facts(book.published)["textures"]
    assert told["kept"]["rain"]["silence"]["relative"] == "1.00" and "montage" in told["made"]
    assert told["source"]["by recording"]["combined"]["DDSP"]["rain"]["relative"] == "0.5"


def test_a_report_needs_a_texture_model_and_a_page_says_when_there_is_none(runs, tmp_path):
    with pytest.raises(InputError, match="none is a texture model"):
        nothing = SourceData("", [], 16_000, {}, {}, 1)
        make_report({"montage": runs["montage"]}, tmp_path, 2, 1, 0, "cpu", tmp_path, nothing)
    page.stage(staging(tmp_path))
    assert "Nothing published" in Path(tmp_path / "book/executed/textures/result.txt").read_text()
    assert str(page.facts(tmp_path)["textures"]["kept"]["rain"]) == "not measured"
