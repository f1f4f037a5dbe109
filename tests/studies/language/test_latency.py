"""First sound and speed: what is timed, and what the numbers mean."""

from itertools import count

import pytest
import torch
from fakes.soundstorm import SMALL_CODEC, small_checkpoint, small_codec

from envsound.studies.language.latency import COLUMNS, latency_table
from envsound.systems.language.decoding import WritingConfig
from envsound.systems.language.system import Language
from envsound.systems.language.transformer import LanguageConfig, LanguageModel
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.system import SoundStorm


def writer(pattern: str) -> Language:
    torch.manual_seed(0)
    shape = LanguageConfig(2, 16, dim=16, n_layers=1, n_heads=2, n_classes=2, pattern=pattern)
    checkpoint = Checkpoint(LanguageModel(shape).eval(), ["dog", "rain"], {"codec_hash": SMALL_CODEC})
    return Language(checkpoint, small_codec(), WritingConfig())


def test_first_sound_and_speed_by_a_clock_that_ticks_once_a_look():
    masked = SoundStorm(small_checkpoint(), small_codec(), DecodingConfig((3, 1)))
    systems = {"masked": masked, "in order": writer("delay"), "coarse first": writer("coarse-first")}
    seconds, ticks = 1.0, count()
    table = latency_table(systems, (1, 3), seconds, n_runs=1, clock=lambda: next(ticks))
    assert list(table.columns) == COLUMNS and len(table) == 6
    n_frames = small_codec().n_frames(round(seconds * small_codec().sample_rate))
    passes = {"masked": 4, "in order": n_frames + 1, "coarse first": 2 * n_frames}
    for row in table.itertuples():
        assert row.passes == passes[row.system]  # of a batch, which is made at once
        assert row.seconds == row.first_sound_s == 1
        assert row.real_time_factor == pytest.approx(1 / (seconds * row.batch))


def test_first_sound_is_waited_for_less_where_the_beginning_is_written_first(monkeypatch):
    """Time is how many columns there are."""
    made = []
    monkeypatch.setattr(Language, "sound", lambda self, codes: made.append(codes.shape[1]) or torch.zeros(1).numpy())
    systems = {"in order": writer("delay"), "coarse first": writer("coarse-first")}
    table = latency_table(systems, (1,), 2.0, n_runs=1, clock=lambda: sum(made)).set_index("system")
    assert table.loc["in order", "first_sound_s"] == pytest.approx(table.loc["in order", "seconds"] / 4, rel=0.05)
    assert table.loc["coarse first", "first_sound_s"] == table.loc["coarse first", "seconds"]
