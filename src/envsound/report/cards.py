"""Sounds as cards: a spectrogram that plays when it is pressed, what is heard, a download, and whose recording it is.

`book/_static/study.js` makes the spectrogram a button and plays one sound at a time; without a script the browser's own
player stands below the picture.
"""

import html
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
from scipy import signal

from envsound.base.files import atomic_path
from envsound.data.audio import SAMPLE_RATE, read_clip
from envsound.report.players import credit

LOW_HZ, HIGH_HZ, N_BANDS = 60.0, 12_000.0, 96  # of a picture, from bottom to top, equal steps of pitch
WINDOW, HOP = 1024, 480  # samples at SAMPLE_RATE
FLOOR_DB = -65.0  # below the loudest point; darker is nothing
COLOURS = "magma"  # monotone in lightness, so that it survives grey


@dataclass(frozen=True)
class Heard:
    """A sound to be shown: its file, its class ("dog"), what made it ("model"), and the recording behind it, if any.

    words: what stands below in place of the recording's credit, as HTML.
    """

    path: Path
    category: str
    kind: str
    clip: str = ""
    words: str = ""

    @property
    def name(self) -> str:
        """What a screen reader calls it."""
        return f"{self.category.replace('_', ' ')}, {self.kind}"


def band_levels(clip: np.ndarray) -> np.ndarray:
    """Return the level of a clip, float32 [n_samples] at SAMPLE_RATE, in N_BANDS bands: dB [N_BANDS, n_windows], 0 to
    FLOOR_DB relative to the loudest point, the lowest band first.
    """
    clip = np.pad(clip, (0, max(0, WINDOW - len(clip))))
    frequencies, _, spectrum = signal.stft(clip, SAMPLE_RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)
    summed = np.concatenate([np.zeros((1, spectrum.shape[1])), np.cumsum(np.abs(spectrum) ** 2, axis=0)])
    edges = np.geomspace(LOW_HZ, HIGH_HZ, N_BANDS + 1) / frequencies[1] + 0.5  # in bins of `summed`
    low = np.minimum(edges.astype(int), len(summed) - 2)
    at_edges = summed[low] + (edges - low)[:, None] * (summed[low + 1] - summed[low])
    power = np.diff(at_edges, axis=0) / np.diff(edges)[:, None]
    return np.maximum(10 * np.log10(np.maximum(power, 1e-30) / max(power.max(), 1e-12)), FLOOR_DB)


def draw_spectrogram(sound: str | Path, picture: str | Path) -> None:
    """Write the spectrogram of a sound as png: pitch upwards, a column each 20 ms. Raises BadClip."""
    levels = band_levels(read_clip(sound))
    with atomic_path(Path(picture)) as temporary:
        matplotlib.image.imsave(
            temporary, levels, vmin=FLOOR_DB, vmax=0, cmap=COLOURS, origin="lower", format="png",
            metadata={"Software": None},
        )  # fmt: skip


def card(heard: Heard, link: str, picture: str) -> str:
    """Return the HTML of a card whose sound and picture are at two links, relative to its page."""
    name, kind = html.escape(heard.name, quote=True), html.escape(heard.kind)
    below = (credit(heard.clip) if heard.clip else "") or heard.words
    return (
        f'<figure class="sound"><div class="spectrogram" data-name="{name}">'
        f'<img src="{html.escape(picture, quote=True)}" alt="Spectrogram: {name}" loading="lazy"></div>'
        f'<audio controls preload="none" aria-label="{name}" src="{html.escape(link, quote=True)}"></audio>'
        f'<figcaption><b>{kind}</b> <a href="{html.escape(link, quote=True)}" download '
        f'aria-label="Download: {name}">download</a>{f"<br>{below}" if below else ""}</figcaption></figure>'
    )


def clips_of(published: Path, system: str) -> dict[str, Path]:
    """Return the first published clip of every class that judges heard of a system: by class."""
    found = sorted(published.glob(f"judges/*/clips/{system}/*/*.ogg"))
    return {path.parent.name: path for path in reversed(found)}


def recording(published: Path, clip: str, category: str, kind: str = "recording") -> Heard:
    """Return a recording that ships, by the name of its clip ("1-100032-A-0", or a file of that stem)."""
    stem = Path(clip).stem
    return Heard(published.parent / "material" / "audio" / f"{stem}.ogg", category, kind, stem)
