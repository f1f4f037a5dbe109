"""Sounds as cards: their pictures, their names, their credits."""

import numpy as np
import pytest
from fakes.runs import staging, tone
from matplotlib import image

from envsound.report.cards import FLOOR_DB, HIGH_HZ, LOW_HZ, N_BANDS, Heard, band_levels, clips_of
from envsound.report.fragments import sound_row


@pytest.mark.parametrize("hz", [100, 1000, 8000])
def test_a_tone_lies_in_its_band_and_silence_is_dark(hz):
    time = np.arange(24_000) / 24_000
    levels = band_levels((0.1 * np.sin(2 * np.pi * hz * time)).astype(np.float32))
    expected = N_BANDS * np.log(hz / LOW_HZ) / np.log(HIGH_HZ / LOW_HZ)
    assert abs(int(levels.mean(axis=1).argmax()) - expected) < 6 and levels.max() == 0 and levels.min() == FLOOR_DB
    assert band_levels(np.zeros(100, np.float32)).shape[0] == N_BANDS


def test_a_card_links_its_sound_and_picture_and_names_itself(root):
    book = staging(root)
    sound = tone(root / "data" / "sea.wav", 400)
    page = root / "book" / "studies" / "x.md"
    text = book.assets.card(Heard(sound, "sea_waves", "model", words="free"), "sounds", page)
    assert 'data-name="sea waves, model"' in text and 'alt="Spectrogram: sea waves, model"' in text
    assert 'aria-label="Download: sea waves, model"' in text and text.endswith("<br>free</figcaption></figure>")
    (picture,) = (root / "book" / "_static" / "generated" / "sounds").glob("*.png")
    assert f'src="../_static/generated/sounds/{picture.name}"' in text and image.imread(picture).shape[0] == N_BANDS
    gone = Heard(root / "data" / "gone.wav", "dog", "model")
    assert sound_row(book, [gone], "listen.md") == []
    row = sound_row(book, [gone, Heard(sound, "dog", "<b>")], "listen.md")
    assert "".join(row).count("<audio") == 1 and "&lt;b&gt;" in "".join(row)


def test_the_first_clip_of_every_class_is_taken(root):
    for name in ("1", "0"):
        tone(root / "data" / "published" / "judges" / "mine" / "clips" / "chain" / "dog" / f"{name}.ogg.wav", 300)
        path = root / "data" / "published" / "judges" / "mine" / "clips" / "chain" / "dog" / f"{name}.ogg"
        path.with_suffix(".ogg.wav").rename(path)
    found = clips_of(root / "data" / "published", "chain")
    assert {category: path.name for category, path in found.items()} == {"dog": "0.ogg"}
