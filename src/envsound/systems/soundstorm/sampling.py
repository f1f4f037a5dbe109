"""Generating clips with a trained model: what to ask for, decoding in batches, one wav and one table row each."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_json, write_json, write_wav
from envsound.codec import Codec
from envsound.run.identity import module_hash
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.decoding import DecodingConfig, decode


@dataclass(frozen=True)
class Request:
    """One clip to generate. category is "" for an unconditional model."""

    filename: str
    category: str
    n_frames: int
    seed: int


def plan_requests(
    n_samples: int,
    seed: int,
    categories: list[str],
    category: str,
    train_frames: np.ndarray,
    sample_frames: int,
) -> list[Request]:
    """Decide class, length and seed of every clip.

    categories: the model's classes, empty when it is unconditional; category: "" takes them in turn. Lengths (frames)
    are `sample_frames`, or drawn from the training clips' `train_frames` when that is 0.
    Raises InputError when the category is not one of the model's or n_samples is below 1.
    """
    if n_samples < 1:
        raise InputError(f"n_samples={n_samples}: expected at least 1")
    if category and category not in categories:
        known = ", ".join(categories) or "none: the model is unconditional"
        raise InputError(f"category={category!r}: not a class of the model; expected one of: {known}")
    asked = [category] if category else (categories or [""])
    rng = np.random.default_rng([seed, 1])
    lengths = rng.choice(train_frames, n_samples) if sample_frames == 0 else np.full(n_samples, sample_frames)
    seeds = np.random.SeedSequence([seed, 2]).generate_state(n_samples)
    requests = []
    for index in range(n_samples):
        name = asked[index % len(asked)]
        stem = f"{index:04d}_{name}" if name else f"{index:04d}"
        requests.append(Request(f"{stem}.wav", name, int(lengths[index]), int(seeds[index])))
    return requests


def decoding_config(
    steps_per_level: list[int], precision: str, device: torch.device, guidance_end: float = 0.0, **others: Any
) -> DecodingConfig:
    """Return a DecodingConfig from a notebook's parameters.

    precision: "auto" (bfloat16 on CUDA, else float32), "float32" or "bfloat16"; guidance_end: 0 keeps guidance_scale
    throughout; others: further fields. Raises InputError for values that cannot be.
    """
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    types["auto"] = torch.bfloat16 if device.type == "cuda" else torch.float32
    if precision not in types:
        raise InputError(f"sample_precision={precision!r}: expected auto, float32 or bfloat16")
    return DecodingConfig(
        tuple(steps_per_level), precision=types[precision], guidance_end=guidance_end or None, **others
    )


def generate(
    checkpoint: Checkpoint,
    codec: Codec,
    requests: list[Request],
    config: DecodingConfig,
    folder: str | Path,
    batch_size: int = 8,
    checkpoint_sha256: str = "",
) -> pd.DataFrame:
    """Generate every requested clip into `folder` and return the rows of samples.csv.

    Clips that an interrupted call with the same requests, decoding, model, codec and code left behind are kept;
    anything else in the folder is removed first.
    Raises InputError when the model's codes and the codec's do not fit.
    """
    _check_fit(checkpoint, codec)
    identity = {
        "requests": [asdict(request) for request in requests],
        "decoding": {key: str(value) for key, value in asdict(config).items()},
        "checkpoint_sha256": checkpoint_sha256,
        "codec_hash": codec.content_hash,
        "code": module_hash("envsound.systems.soundstorm.sampling"),
    }
    folder = _prepare_folder(Path(folder), identity)
    missing = [request for request in requests if not (folder / request.filename).exists()]
    missing.sort(key=lambda request: request.n_frames)  # clips of similar length share a batch
    with tqdm(total=len(requests), initial=len(requests) - len(missing), desc="sampling", unit="clip") as bar:
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            for request, clip in zip(batch, _decode_batch(checkpoint, codec, batch, config), strict=True):
                write_wav(folder / request.filename, clip, codec.sample_rate)
            bar.update(len(batch))
    rows = [_row(request, config, codec, checkpoint_sha256) for request in requests]
    return pd.DataFrame(rows)


def _check_fit(checkpoint: Checkpoint, codec: Codec) -> None:
    model = checkpoint.model.config
    if (model.n_levels, model.codebook_size) != (codec.n_levels, codec.codebook_size):
        raise InputError(
            f"checkpoint: {model.n_levels} levels of {model.codebook_size} codes, but codec {codec.name} has "
            f"{codec.n_levels} of {codec.codebook_size}"
        )


def _prepare_folder(folder: Path, identity: dict) -> Path:
    record = folder / "request.json"
    if folder.exists() and not (record.exists() and read_json(record) == identity):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, identity)
    return folder


def _decode_batch(
    checkpoint: Checkpoint, codec: Codec, batch: list[Request], config: DecodingConfig
) -> list[np.ndarray]:
    """Return float32 clips [n_samples], each as long as its request asks."""
    conditional = checkpoint.model.config.n_classes > 0
    classes = [checkpoint.categories.index(request.category) for request in batch] if conditional else None
    lengths = [request.n_frames for request in batch]
    codes = decode(checkpoint.model, lengths, [request.seed for request in batch], config, classes)
    clips = []
    for item, length in zip(codes, lengths, strict=True):
        clips.append(codec.decode(item[None, :, :length])[0].cpu().numpy().astype(np.float32))
    return clips


def _row(request: Request, config: DecodingConfig, codec: Codec, checkpoint_sha256: str) -> dict:
    return {
        "filename": request.filename,
        "category": request.category,
        "seed": request.seed,
        "n_frames": request.n_frames,
        "seconds": request.n_frames / codec.frame_rate,
        "steps_per_level": " ".join(str(steps) for steps in config.steps_per_level),
        "entropy_budget": config.entropy_budget,
        "temperature": config.temperature,
        "fine_temperature": config.fine_temperature,
        "top_k": config.top_k,
        "top_p": config.top_p,
        "order": config.order,
        "order_noise": config.order_noise,
        "guidance_scale": config.guidance_scale,
        "guidance_end": config.guidance_scale if config.guidance_end is None else config.guidance_end,
        "precision": str(config.precision).removeprefix("torch."),
        "codec_hash": codec.content_hash,
        "checkpoint_sha256": checkpoint_sha256,
    }
