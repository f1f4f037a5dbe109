"""What every codec shares: batches of unequal clips, the check of codes, silence, loading by name."""

import pytest
import torch
from fakes.codecs import toy_model
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.codec import load_codec
from envsound.codec.base import CEILING, SILENCE_RMS, check_codes, encode_by_length, gate_silence, limit_peaks
from envsound.codec.stored import save_codec
from envsound.run.pipeline import codec_fingerprint

HOP = 4  # samples
N_LEVELS = 3
MASK = 10


def encode_one_length(clips: torch.Tensor) -> torch.Tensor:
    """A stand-in codec: every level of a frame is the number of samples above 0.5 in it, plus the level."""
    counts = (torch.nn.functional.pad(clips, (0, -clips.shape[1] % HOP)).unflatten(1, (-1, HOP)) > 0.5).sum(2)
    return counts[:, None] + torch.arange(N_LEVELS)[:, None]


def encode(clips: torch.Tensor, n_samples) -> torch.Tensor:
    return encode_by_length(encode_one_length, clips, n_samples, N_LEVELS, MASK)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_codes_do_not_depend_on_padding_or_company(lengths, seed):
    clips = torch.rand(len(lengths), max(lengths) + 5, generator=torch.Generator().manual_seed(seed))
    codes = encode(clips, torch.tensor(lengths))
    assert codes.dtype == torch.int64 and torch.equal(codes, encode(clips, lengths))
    assert codes.shape == (len(lengths), N_LEVELS, -(-max(lengths) // HOP))
    for clip, length, own in zip(clips, lengths, codes, strict=True):
        n_frames = -(-length // HOP)
        assert torch.equal(own[:, :n_frames], encode_one_length(clip[None, :length])[0])
        assert (own[:, n_frames:] == MASK).all()
    assert torch.equal(encode(clips, None), encode_one_length(clips))


@pytest.mark.parametrize("lengths", [[5], [5, 6, 7], [0, 5], [5, 10], [-1, 5]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(InputError, match="expected 2 lengths between 1 and 9"):
        encode(torch.rand(2, 9), lengths)


@pytest.mark.parametrize("shape", [(9,), (2, 0), (0, 9), (2, 1, 9)])
def test_clips_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="clips: shape"):
        encode(torch.rand(*shape), None)


@pytest.mark.parametrize("shape", [(2, 4), (2, 0, 4), (2, N_LEVELS + 1, 4), (2, 3, 0), (0, 3, 4)])
def test_codes_of_another_shape_are_refused_and_fewer_levels_are_not(shape):
    for n_levels in (1, N_LEVELS):
        check_codes(torch.full((2, n_levels, 4), MASK - 1), N_LEVELS, MASK)
    with pytest.raises(InputError, match="codes: shape"):
        check_codes(torch.zeros(shape, dtype=torch.long), N_LEVELS, MASK)


@pytest.mark.parametrize(("value", "found"), [(MASK, "0 to 10; expected 0 to 9"), (-1, "-1 to 0"), (0.5, "integers")])
def test_what_is_no_code_is_refused(value, found):
    codes = torch.zeros(1, 3, 4, dtype=torch.tensor(value).dtype)
    codes[0, 1, 2] = value
    with pytest.raises(InputError, match=found):
        check_codes(codes, N_LEVELS, MASK)


def test_gate_silences_whole_quiet_frames_and_nothing_else():
    clip = torch.tensor([[2.0] * 4 + [3.0, 0.5, 0.5, 0.5]]) * SILENCE_RMS  # one loud sample keeps its frame
    gated = gate_silence(torch.cat([clip, torch.full((1, 4), -SILENCE_RMS / 2)], 1), hop=4)
    assert torch.equal(gated[:, :8], clip) and (gated[:, 8:] == 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n_samples=st.integers(1, 400), radius=st.integers(1, 60))
def test_peaks_are_limited_smoothly_and_clips_without_stay_as_they_are(seed, n_samples, radius):
    clips = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(seed))
    clips[0] *= 0.9 / clips[0].abs().max()
    limited = limit_peaks(clips, radius)
    assert torch.equal(limited[0], clips[0]) and limited.abs().max() <= CEILING + 1e-5
    gain = limited[1] / clips[1]
    assert gain.max() <= 1 + 1e-5 and gain.min() > 0
    assert n_samples == 1 or gain.diff().abs().max() <= 1 / (2 * radius + 1) + 1e-5


@pytest.mark.parametrize("name", ["encodec", "", "bundle", "weights.pt"])
def test_an_unknown_codec_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"codec='{name}': expected patches, encodec_24khz or the path"):
        load_codec(name, device="cpu")


def test_another_codec_is_another_fingerprint(tmp_path):
    """So that the steps of a run which encoded with the first one run again."""
    for seed in (0, 1):
        save_codec(tmp_path / f"{seed}.safetensors", toy_model(seed))
    names = [str(tmp_path / "0.safetensors"), str(tmp_path / "1.safetensors"), "patches"]
    assert len({codec_fingerprint({"codec": name, "codec_weights": ""}) for name in names}) == 4
