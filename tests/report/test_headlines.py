"""What the notebooks on training and sampling say of their tables."""

import pandas as pd

from envsound.report.headlines import last_losses, sampling_headline, seconds_of, training_headline
from envsound.report.players import player, sample_players

LOSSES = {"train": [6.0, 4.0, 2.0], "validation": [6.5, 5.5, 5.9]}
HISTORY = pd.DataFrame([
    {"epoch": epoch, "level": level, "split": split, "loss": loss, "unigram": 5.25, "seconds": 30.0}
    for split, losses in LOSSES.items()
    for epoch, loss in enumerate(losses, 1)
    for level in ("0", "all")
])  # fmt: skip
SAMPLES = pd.DataFrame({
    "filename": ["0.wav", "1.wav", "2.wav"], "category": ["rain", "<dog>", "rain"], "seconds": [1.0, 2.0, 3.0]
})  # fmt: skip


def test_the_losses_stand_beside_what_knows_less_and_the_sound_of_a_sampling_is_counted():
    text = training_headline(HISTORY)
    for value in ("3 epochs (1.5 minutes)", "2.00 nat", "5.90 nat", "5.25", "6.93", "5.50, after epoch 2"):
        assert value in text
    assert last_losses(HISTORY) == {"train": 2.0, "validation": 5.9} and seconds_of(HISTORY) == 90.0
    text = sampling_headline(SAMPLES, 12.4)
    assert "3 clips" in text and "6 s of sound" in text and "12 s." in text


def test_a_player_links_to_its_file_and_writes_its_label_as_text():
    assert 'src="a&quot;.wav"' in player('a".wav') and "figcaption" not in player("a.wav")
    shown = sample_players(SAMPLES, "data/runs/x/samples")
    assert shown.count("<audio") == 2 and "&lt;dog&gt;" in shown and 'src="../data/runs/x/samples/0.wav"' in shown
