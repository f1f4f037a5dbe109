"""How fast codecs are: seconds to encode and to decode one clip, on the CPU and on a GPU where there is one."""

import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from envsound.base.device import describe_device
from envsound.codec.base import Codec
from envsound.codec.systems import Maker


def measure_speed(makers: Mapping[str, Maker], seconds: float = 5.0, repeats: int = 5) -> pd.DataFrame:
    """Return speed.csv: one row for each codec and device; the GPU's rows only where torch finds one (CUDA).

    makers: codecs by name, each a function of the device. A clip of noise of `seconds` goes through alone, `repeats`
    times after a warm-up. Columns: codec, device, device_name, clip_seconds, n_repeats, encode_seconds and
    decode_seconds (medians), and real_time_factor, seconds of sound encoded and decoded in one second.
    """
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows = []
    for device in devices:
        for name, make in makers.items():
            encode, decode = _seconds(make(device), seconds, repeats)
            row = {"codec": name, "device": device, "device_name": describe_device(torch.device(device))}
            row |= {"clip_seconds": seconds, "n_repeats": repeats, "encode_seconds": encode, "decode_seconds": decode}
            rows.append(row | {"real_time_factor": seconds / (encode + decode)})
    return pd.DataFrame(rows)


def _seconds(codec: Codec, seconds: float, repeats: int) -> tuple[float, float]:
    noise = 0.1 * torch.randn(1, round(seconds * codec.sample_rate), generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        codes = codec.encode(noise)
        codes.cpu()  # waits until a GPU has finished
        between = time.perf_counter()
        codec.decode(codes).cpu()
        times.append((between - began, time.perf_counter() - between))
    encode, decode = np.median(times[1:], axis=0)  # the first was the warm-up
    return float(encode), float(decode)
