"""What each control of decoding does, made audible: one clip for every setting, everything else equal.

Every method of `Studio` writes wav files and returns a table of them: control, setting, filename, passes (how often the
model was called), seconds (how long that took), and a few acoustic metrics.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.codec import Codec
from envsound.metrics.acoustic import acoustic
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.decoding import ONE_CODE_A_STEP, DecodingConfig, decode
from envsound.systems.soundstorm.drawing import ORDERS
from envsound.systems.soundstorm.editing import Editor

CLIPS_WITHOUT_CLASSES = 4
SHOWN_METRICS = ("rms", "spectral_centroid_hz", "spectral_entropy")


@dataclass(frozen=True)
class Setting:
    """One value of one control: what it changes in the base DecodingConfig."""

    control: str
    name: str
    changes: dict[str, Any] = field(default_factory=dict)


def settings(n_levels: int, guided: bool) -> list[Setting]:
    """Return the settings to hear; those of guidance only where the model is told the class."""

    def steps(first: int) -> dict[str, Any]:
        return {"steps_per_level": (first, *[1] * (n_levels - 1)), "entropy_budget": 0.0}

    found = [
        Setting("steps at level 0", "1: every code at once", steps(1)),
        Setting("steps at level 0", "12: published", steps(12)),
        Setting("steps at level 0", "16: SoundStorm", steps(16)),
        Setting("steps at level 0", "one code a pass", steps(ONE_CODE_A_STEP)),
        Setting("steps at level 0", "by entropy, 100 nats a pass", {"entropy_budget": 100.0}),
        Setting("order of acceptance", "confidence with noise", {"order": "confidence", "order_noise": 1.0}),
        Setting("order of acceptance", "confidence alone", {"order": "confidence", "order_noise": 0.0}),
        *(Setting("order of acceptance", name, {"order": name}) for name in ORDERS if name != "confidence"),
        Setting("temperature of level 0", "0.7", {"temperature": 0.7}),
        Setting("temperature of level 0", "1.0", {"temperature": 1.0}),
        Setting("temperature of level 0", "1.3", {"temperature": 1.3}),
        Setting("choice of codes", "top 50", {"top_k": 50}),
        Setting("choice of codes", "top 90% of probability", {"top_p": 0.9}),
        Setting("fine levels", "greedy", {"fine_temperature": 0.0}),
        Setting("fine levels", "sampled", {"fine_temperature": 1.0}),
    ]
    if guided:
        for scale in (1.0, 2.0, 4.0):
            found.append(Setting("guidance", f"{scale:g}", {"guidance_scale": scale, "guidance_end": None}))
        found.append(Setting("guidance", "from 4 to 1", {"guidance_scale": 4.0, "guidance_end": 1.0}))
    return found


@dataclass(frozen=True)
class Studio:
    """A trained model, its codec and a folder for wav files; every clip has the same seed."""

    checkpoint: Checkpoint
    codec: Codec
    base: DecodingConfig
    folder: Path
    seed: int = 0

    def hear_settings(self, category: str, n_frames: int) -> pd.DataFrame:
        """Generate one clip of a class for each of `settings`."""
        number = self._class_index(category)
        rows = []
        for setting in tqdm(settings(self.codec.n_levels, number is not None), desc="settings", unit="clip"):
            make = partial(self._generate, replace(self.base, **setting.changes), n_frames, number)
            rows.append({"control": setting.control, "setting": setting.name} | self._row(make, len(rows), category))
        return pd.DataFrame(rows)

    def hear_classes(self, n_frames: int) -> pd.DataFrame:
        """Generate one clip of every class in a single batch, all from the same seed; without `passes` and `seconds`.

        A model that is not told classes makes four clips in a single batch, from this seed and the next three.
        """
        if self.checkpoint.model.config.n_classes:
            control, names = "every class in one batch", self.checkpoint.categories
            seeds, classes = [self.seed] * len(names), list(range(len(names)))
        else:
            control, classes = "several clips in one batch", None
            seeds = list(range(self.seed, self.seed + CLIPS_WITHOUT_CLASSES))
            names = [f"seed {seed}" for seed in seeds]
        codes = decode(self.checkpoint.model, [n_frames] * len(names), seeds, self.base, classes).cpu()
        rows = []
        for number, name in enumerate(names):
            made = self._row(lambda number=number: codes[number], number, f"batch_{name.replace(' ', '_')}")
            rows.append({"control": control, "setting": name} | made)
        return pd.DataFrame(rows).drop(columns=["passes", "seconds"])

    def hear_edits(self, clip: np.ndarray, category: str, long_seconds: float) -> pd.DataFrame:
        """Continue, vary and repair a recording, float32 [n_samples], and make a long clip of its class."""
        editor = Editor(self.checkpoint.model, self.base, self._class_index(category))
        codes = self.codec.encode(torch.from_numpy(clip)[None])[0].cpu()
        n_frames, rate = codes.shape[1], self.codec.frame_rate
        third, fine = n_frames // 3, self.codec.n_levels // 4
        edits: list[tuple[str, str, Callable[[], Tensor]]] = [
            ("recording", "through the codec", lambda: codes),
            ("continuation", "its first third goes on", lambda: self._continue(editor, codes, third)),
            ("variation", "a quarter of its frames anew", lambda: editor.variation(codes, 0.25, self.seed)),
            ("variation", "three quarters anew", lambda: editor.variation(codes, 0.75, self.seed)),
            ("inpainting", "the middle third", lambda: editor.inpainting(codes, third, 2 * third, self.seed)),
            ("inpainting", f"levels from {fine} on", lambda: editor.inpainting(codes, 0, n_frames, self.seed, fine)),
            ("length", f"{long_seconds:g} s", lambda: self._long(editor, round(long_seconds * rate), n_frames)),
        ]
        rows = []
        for control, name, make in tqdm(edits, desc="edits", unit="clip"):
            rows.append({"control": control, "setting": name} | self._row(make, len(rows), f"edit_{category}"))
        return pd.DataFrame(rows)

    def _generate(self, config: DecodingConfig, n_frames: int, number: int | None) -> Tensor:
        classes = None if number is None else [number]
        return decode(self.checkpoint.model, [n_frames], [self.seed], config, classes)[0].cpu()

    def _continue(self, editor: Editor, codes: Tensor, n_kept: int) -> Tensor:
        return editor.continuation(codes[:, :n_kept], codes.shape[1] - n_kept, self.seed)

    def _long(self, editor: Editor, n_frames: int, window: int) -> Tensor:
        return editor.long_clip(n_frames, self.seed, window, window // 2)

    def _class_index(self, category: str) -> int | None:
        if not self.checkpoint.model.config.n_classes:
            return None
        if category not in self.checkpoint.categories:
            known = ", ".join(self.checkpoint.categories)
            raise InputError(f"category={category!r}: not a class of the model; expected one of: {known}")
        return self.checkpoint.categories.index(category)

    def _row(self, make: Callable[[], Tensor], number: int, stem: str) -> dict[str, Any]:
        """Make codes, write their sound, and return filename, passes, seconds and some acoustic metrics."""
        passes: list[int] = []
        hook = self.checkpoint.model.register_forward_pre_hook(lambda *_: passes.append(1))
        started = time.perf_counter()
        try:
            codes = make()
        finally:
            hook.remove()
        seconds = time.perf_counter() - started
        clip = self.codec.decode(codes[None])[0].cpu().numpy()
        path = self.folder / f"{stem}_{number:02d}.wav"
        write_wav(path, clip, self.codec.sample_rate)
        measured = acoustic(clip, self.codec.sample_rate)
        facts = {"filename": path.name, "passes": len(passes), "seconds": round(seconds, 3)}
        return facts | {name: measured[name] for name in SHOWN_METRICS}
