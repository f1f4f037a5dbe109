"""Are codes stable, and what a judge hears through a codec: on codecs and embeddings whose answers are known."""

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, noise, noise_and_tones

from envsound.codec.systems import System
from envsound.data.recordings import load_recordings
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.studies.codec_report import judged, measuring


class LevelCodec:
    """One code a column of 100 samples: its level in whole dB. Everything it decodes is silent."""

    n_levels, codebook_size, sample_rate = 1, 91, RATE

    def decode(self, codes):
        return torch.zeros(len(codes), codes.shape[2] * 100)

    def encode(self, clips):
        power = clips.unflatten(1, (-1, 100)).square().mean(2)
        return (10 * torch.log10(power + 1e-9) + 90).round().long().clamp(0, 90)[:, None]


def test_codes_of_levels_stay_when_a_clip_comes_later_and_change_when_it_is_quieter():
    clips = [np.full(1000, 0.5, np.float32), np.full(1000, 0.25, np.float32)]
    table = measuring.stability({"level": LevelCodec()}, clips)
    kept = table.set_index("change")["kept"]
    assert list(table) == measuring.STABILITY_COLUMNS and list(kept.index) == list(measuring.CHANGES)
    assert kept["one sample later"] == 1 and kept["1 dB quieter"] == 0 and kept["decoded and coded again"] == 0
    assert set(table["n_codes"]) == {20} and table["perplexity"][0] == pytest.approx(2)  # two levels, equally frequent


def test_what_counting_saves_is_told_for_every_level_of_every_codec():
    clips = [np.repeat([0.5, 0.25], 500).astype(np.float32), np.repeat([0.25, 0.5], 500).astype(np.float32)]
    table = measuring.foretold({"level": LevelCodec()}, clips, clips)
    assert table[["codec", "level", "n_codes"]].to_numpy().tolist() == [["level", 0, 18]]  # none for the first columns
    assert 0 < table["saved_by_previous"][0] < table["bits_alone"][0] and np.isnan(table["saved_by_lower"][0])


@pytest.fixture
def recordings(tmp_path):
    return load_recordings("folder", str(noise_and_tones(tmp_path, 60, 20, 10, 4000)), "clips.csv")


class Flatness:
    """Two numbers a clip, in which noise and tones lie apart."""

    name, content_hash, sample_rate = "flatness", "f" * 64, 2 * RATE

    def embed(self, clips, sample_rate):
        assert sample_rate == self.sample_rate
        spectra = [np.abs(np.fft.rfft(clip)) ** 2 + 1e-9 for clip in clips]
        return np.array([[np.log(one).mean() - np.log(one.mean()), np.log(one.max() / one.mean())] for one in spectra])


def test_a_judge_hears_originals_rightly_and_noise_as_noise_and_noise_lies_far_off(recordings):
    held_out = recordings.table[recordings.table["fold"] == 1]
    same = System("original", lambda clips: clips)
    hiss = System("hiss", lambda clips: np.stack([noise(clips.shape[1], seed=len(clips))] * len(clips)))
    found = judged.judge_systems([same, hiss], recordings, held_out, Flatness(), 1, ["tone"])
    assert list(found) == judged.JUDGED_COLUMNS and list(found["category"]) == [judged.ALL, "noise", "tone"] * 2
    by = found.set_index(["system", "category"])
    # tones in grains, which the probe is to refuse, lie near the tones of this space: some originals are refused, too
    assert by.loc[("original", judged.ALL), "heard"] > by.loc[("hiss", judged.ALL), "heard"]
    assert by.loc[("hiss", "tone"), "heard"] == 0
    assert by.loc[("original", judged.ALL), "fad"] < by.loc[("hiss", judged.ALL), "fad"]
    assert by.loc[("hiss", "tone"), "n"] == 10 and np.isnan(by.loc[("hiss", "tone"), "fad"])


def test_without_its_package_one_row_says_why(recordings):
    missing = judged.aisfx_here("no/such/folder", "cpu")
    assert isinstance(missing, NotRun)
    (row,) = judged.judge_systems([], recordings, recordings.table, missing, 1, ["tone"]).to_dict("records")
    assert row["note"].startswith("not run here") and "make judge" in row["note"]
