"""A whole system in a page: codes drawn by how often they occur in a class. It proves the interface of systems."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from envsound.base.files import read_csv, read_json, write_json
from envsound.codec import load_codec
from envsound.codec.codes import encode_recordings, load_codes
from envsound.codec.systems import through_codec
from envsound.data.folds import split_folds
from envsound.systems.base import Trained


@dataclass
class Unigram:
    codec: object
    codes: dict[str, np.ndarray]  # class -> int [n_levels, n_codes], all frames of its training clips
    name, conditions, content_hash = "unigram", frozenset({"class"}), "unigram"

    def __post_init__(self):
        self.sample_rate, self.categories = self.codec.sample_rate, sorted(self.codes)

    def generate(self, requests):
        for request in requests:
            pool = self.codes[request.category]
            n_frames = round(request.seconds * self.codec.frame_rate)
            places = np.random.default_rng(request.seed).integers(pool.shape[1], size=(len(pool), n_frames))
            codes = torch.from_numpy(np.take_along_axis(pool, places, axis=1))[None]
            yield self.codec.decode(codes)[0].cpu().numpy()

    def describe(self, request):
        return {"seconds": request.seconds}

    def reconstruct(self, clip):
        return through_codec(clip, self.codec)

    def controls(self, run):
        return {}


class Recipe:
    about = "Codes drawn by how often they occur in a class."

    def codec(self, settings):
        return load_codec(settings["codec"], settings["codec_weights"], settings["device"])

    def prepare(self, recordings, settings, run):
        return encode_recordings(recordings, self.codec(settings))

    def train(self, settings, run, device):
        train, _ = split_folds(read_csv(Path(run) / "codes.csv"), settings["fold"], settings["train_folds"])
        files = {category: list(rows["codes_file"]) for category, rows in train.groupby("category")}
        write_json(Path(run) / "checkpoints" / "unigram.json", files)
        loss = {"epoch": 1, "level": "all", "loss": 0.0, "n_masked": len(train), "unigram": 0.0, "lr": 0.0}
        history = pd.DataFrame([loss | {"split": split, "seconds": 0.0} for split in ("train", "validation")])
        return Trained(history, {"n_train_clips": len(train)})

    def load(self, settings, run, device):
        files = read_json(Path(run) / "checkpoints" / "unigram.json")
        codes = {name: np.concatenate([load_codes(f) for f in some], 1).astype(int) for name, some in files.items()}
        return Unigram(self.codec(settings), codes)
