"""What every codec shares: batches of unequal clips, the check of codes, and loading by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.codec import load_codec
from envsound.codec.base import check_codes, encode_by_length

HOP = 4  # samples
N_LEVELS = 3
MASK = 10


def encode_one_length(clips: torch.Tensor) -> torch.Tensor:
    """A stand-in codec: every level of a frame is the number of samples above 0.5 in it, plus the level."""
    n_frames = -(-clips.shape[1] // HOP)
    padded = torch.nn.functional.pad(clips, (0, n_frames * HOP - clips.shape[1]))
    counts = (padded.reshape(len(clips), n_frames, HOP) > 0.5).sum(2)
    return counts[:, None] + torch.arange(N_LEVELS)[:, None]


def encode(clips: torch.Tensor, n_samples) -> torch.Tensor:
    return encode_by_length(encode_one_length, clips, n_samples, N_LEVELS, MASK)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_codes_do_not_depend_on_padding_or_company(lengths, seed):
    clips = torch.rand(len(lengths), max(lengths) + 5, generator=torch.Generator().manual_seed(seed))
    codes = encode(clips, torch.tensor(lengths))
    assert codes.dtype == torch.int64
    assert codes.shape == (len(lengths), N_LEVELS, -(-max(lengths) // HOP))
    for clip, length, own in zip(clips, lengths, codes, strict=True):
        n_frames = -(-length // HOP)
        assert torch.equal(own[:, :n_frames], encode_one_length(clip[None, :length])[0])
        assert (own[:, n_frames:] == MASK).all()


def test_without_lengths_the_whole_batch_is_encoded_at_once():
    clips = torch.rand(2, 9)
    assert torch.equal(encode(clips, None), encode_one_length(clips))


def test_lengths_may_be_a_list():
    clips = torch.rand(2, 9)
    assert torch.equal(encode(clips, [9, 5]), encode(clips, torch.tensor([9, 5])))


@pytest.mark.parametrize("lengths", [[5], [5, 6, 7], [0, 5], [5, 10], [-1, 5]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(InputError, match="expected 2 lengths between 1 and 9"):
        encode(torch.rand(2, 9), torch.tensor(lengths))


@pytest.mark.parametrize("shape", [(9,), (2, 0), (0, 9), (2, 1, 9)])
@pytest.mark.parametrize("with_lengths", [False, True])
def test_clips_of_another_shape_are_refused(shape, with_lengths):
    lengths = torch.full(shape[:1], 9) if with_lengths else None
    with pytest.raises(InputError, match="clips: shape"):
        encode(torch.rand(*shape), lengths)


@pytest.mark.parametrize("n_levels", [1, 2, 3])
def test_codes_with_fewer_levels_are_allowed(n_levels):
    assert check_codes(torch.full((2, n_levels, 4), MASK - 1), N_LEVELS, MASK) is None


@pytest.mark.parametrize("shape", [(2, 4), (2, 0, 4), (2, N_LEVELS + 1, 4), (2, 3, 0), (0, 3, 4)])
def test_codes_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="codes: shape"):
        check_codes(torch.zeros(shape, dtype=torch.long), N_LEVELS, MASK)


def test_codes_must_be_integers():
    with pytest.raises(InputError, match="float32; expected integers"):
        check_codes(torch.zeros(1, 3, 4), N_LEVELS, MASK)


@pytest.mark.parametrize(("value", "found"), [(MASK, "from 0 to 10"), (-1, "from -1 to 0")])
def test_codes_outside_the_codebook_are_refused(value, found):
    codes = torch.zeros(1, 3, 4, dtype=torch.long)
    codes[0, 1, 2] = value
    with pytest.raises(InputError, match=f"{found}; expected 0 to 9"):
        check_codes(codes, N_LEVELS, MASK)


@pytest.mark.parametrize("name", ["encodec", "", "bundle", "weights.pt"])
def test_an_unknown_codec_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"codec='{name}': expected bundled, encodec_24khz or the path"):
        load_codec(name, device="cpu")


def test_a_codec_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "absent.safetensors"
    with pytest.raises(InputError, match=r"absent\.safetensors: cannot be read"):
        load_codec(str(path), device="cpu")
