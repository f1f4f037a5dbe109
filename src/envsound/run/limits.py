"""What a value may be: the range of every number, the choice of every name, the length of every list; in one place.

Presets, notebooks, commands and the parts of a system ask here, so that a value which cannot be is told before anything
runs. The words of a range are those of the error.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envsound.base.errors import InputError

COUNT, FROM_NONE, SHARE, SEED = "[1, 1000000]", "[0, 1000000]", "[0, 1)", "[0, 4294967295]"
RANGES = {  # as mathematicians write them; of a list, of each of its numbers
    "fold": FROM_NONE, "seed": SEED, "folds": FROM_NONE, "seeds": SEED,
    "clip_seconds": "0 or [0.05, 3600]", "train_folds": FROM_NONE,
    "augment_copies": "[0, 1000]", "augment_seed": SEED,
    "n_heard": FROM_NONE, "codebook_size": "[2, 32767]",
    "n_layers": "[1, 1000]", "dim": "[2, 65536]", "n_heads": "[1, 1024]", "conv_kernel": "[1, 9999]",
    "ff_mult": "[1, 64]", "dropout": SHARE,
    "num_epochs": COUNT, "batch_size": COUNT, "accumulate": COUNT, "lr": "(0, 1]", "weight_decay": "[0, 10]",
    "betas": SHARE, "warmup_fraction": "(0, 1)", "warmup_steps": FROM_NONE, "grad_clip": "(0, 1000000]",
    "ema_decay": SHARE, "class_dropout": SHARE, "prompt_chance": "[0, 1]", "level_shares": "[0, 1]",
    "label_smoothing": SHARE, "near_share": SHARE, "watch_every": COUNT, "max_steps": "[0, 1000000000]",
    "validation_fold": FROM_NONE, "patience": FROM_NONE, "devices": "[1, 1024]",
    "n_samples": COUNT, "steps_per_level": "[0, 10000]", "entropy_budget": FROM_NONE, "temperature": "[0, 100]",
    "fine_temperature": "[0, 100]", "top_k": FROM_NONE, "top_p": "(0, 1]", "order_noise": "[0, 1000]",
    "guidance_scale": "[0, 100]", "guidance_end": "[0, 100]", "n_candidates": "[1, 1000]",
    "sample_seconds": "0 or [0.1, 3600]", "sample_batch_size": COUNT,
    "n_real": COUNT, "real_folds": FROM_NONE, "real_seed": SEED, "n_examples": COUNT,
}  # fmt: skip
CHOICES = {
    "dataset": ("material", "esc50", "urbansound8k", "folder"),
    "augment": ("speed", "shift", "filter", "level"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("one-cycle", "cosine"),
    "precision": ("auto", "32-true", "bf16-mixed"),
    "sample_precision": ("auto", "float32", "bfloat16"),
    "order": ("confidence", "random", "spans", "low-discrepancy"),
    "metrics": ("snr_db", "zcr", "rms", "spectral_entropy", "spectral_centroid_hz", "spectral_rolloff_hz", "duration_s",
                "spectral_convergence", "log_spectral_distance"),
}  # fmt: skip
# No item of these is named twice.
ONCE = ("folds", "seeds", "train_folds", "real_folds", "categories", "augment", "metrics")
RANGE = re.compile(r"(0 or )?([\[(])([\d.]+), ([\d.]+)([\])])")
LEVELS = {"encodec_24khz": 8}  # of codecs that do not ship as a file
CODECS = Path("data/codec")


def check_value(name: str, value: Any, label: str) -> None:
    """Raise InputError, which begins with `label`, for a value that the parameter `name` may not have.

    Numbers are in their range and finite, names among the choices, the items of lists of one kind, and none twice where
    that means nothing.
    """
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        if name in RANGES and not _fits(item, RANGES[name]):
            raise InputError(f"{label}={item!r}: expected {words(RANGES[name])}")
        if name in CHOICES and item not in CHOICES[name]:
            raise InputError(f"{label}={item!r}: expected one of {', '.join(CHOICES[name])}")
        if name == "categories" and not isinstance(item, str):
            raise InputError(f"{label}={item!r}: expected the name of a class, in quotes if need be")
        if isinstance(item, float) and not math.isfinite(item):
            raise InputError(f"{label}={item!r}: expected a finite number")
    if name in ONCE and len(set(items)) < len(items):
        raise InputError(f"{label}={list(items)}: expected each once")


def check_together(values: Mapping[str, Any], label: str = "") -> None:
    """Raise InputError for values that do not fit each other; of those that are not given nothing is said."""
    known = {"weight_decay": 0, "betas": (0, 0), "level_shares": (), "patience": 0, "conv_kernel": 1} | dict(values)
    start, shares = f"{label}: " if label else "", known["level_shares"]
    if "dim" in known and "n_heads" in known and known["dim"] % (2 * known["n_heads"]):
        heads = f"n_heads={known['n_heads']} heads of an even number of channels"
        raise InputError(f"{start}dim={known['dim']}: expected {heads}")
    if known["conv_kernel"] % 2 == 0:
        raise InputError(f"{start}conv_kernel={known['conv_kernel']}: expected an odd number of frames")
    if known["weight_decay"] and known.get("optimizer") != "adamw":
        raise InputError(f"{start}weight_decay={known['weight_decay']}: expected 0, or optimizer=adamw")
    if len(known["betas"]) != 2:
        raise InputError(f"{start}betas={list(known['betas'])}: expected two shares")
    if shares and not math.isclose(sum(shares), 1):
        raise InputError(f"{start}level_shares={list(shares)}: expected shares that add up to 1")
    if known["patience"] and not known.get("validation_fold"):
        raise InputError(
            f"{start}patience={known['patience']}: needs a validation_fold among the training folds; stopping by the "
            "held-out fold would be choosing on the test"
        )
    if known.get("system") == "soundstorm" and (n_levels := levels_of(known.get("codec", ""))):
        for name in ("steps_per_level", "level_shares"):
            if known.get(name) and len(known[name]) != n_levels:
                raise InputError(f"{start}{name}={list(known[name])}: expected {n_levels}, one a level of the codec")


def levels_of(codec: str) -> int | None:
    """Return the number of levels of a codec by its name or file; None where the file is not there or does not say."""
    if codec in LEVELS:
        return LEVELS[codec]
    for path in (CODECS / f"{codec}.safetensors", Path(codec).expanduser()):
        try:
            with path.open("rb") as stream:
                size = struct.unpack("<Q", stream.read(8))[0]
                header = json.loads(stream.read(min(size, 1 << 24)))
            return int(json.loads(header["__metadata__"]["codec"])["config"]["n_levels"])
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            continue
    return None


def words(text: str) -> str:
    """Return a range in words, such as "0, or at least 0.05 and at most 3600"."""
    zero, left, low, high, right = RANGE.fullmatch(text).groups()
    bounds = f"{'at least' if left == '[' else 'more than'} {low} and {'at most' if right == ']' else 'below'} {high}"
    return f"0, or {bounds}" if zero else bounds


def _fits(value: Any, text: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    zero, left, low, high, right = RANGE.fullmatch(text).groups()
    above = value >= float(low) if left == "[" else value > float(low)
    below = value <= float(high) if right == "]" else value < float(high)
    return (above and below) or bool(zero and value == 0)


def check_values(values: Mapping[str, Any]) -> None:
    """Raise InputError for the first of some values, by name, that `check_value` refuses."""
    for name, value in values.items():
        check_value(name, value, name)
