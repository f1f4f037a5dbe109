"""What every codec shares: batches of unequal clips, the check of codes, silence, loading by name, and swapping."""

import papermill
import pytest
import torch
from fakes.codecs import CLIPS, RATE, TOY, toy_model
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_wav
from envsound.base.paths import find_root
from envsound.codec import load_codec
from envsound.codec.base import SILENCE_RMS, check_codes, encode_by_length, gate_silence
from envsound.codec.codes import encode_recordings
from envsound.codec.stored import save_codec
from envsound.data.recordings import load_recordings
from envsound.run.pipeline import codec_fingerprint
from envsound.systems.soundstorm.checkpoints import Checkpoint, save_checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

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


def test_lengths_may_be_a_list_or_left_out():
    clips = torch.rand(2, 9)
    assert torch.equal(encode(clips, [9, 5]), encode(clips, torch.tensor([9, 5])))
    assert torch.equal(encode(clips, None), encode_one_length(clips))


@pytest.mark.parametrize("lengths", [[5], [5, 6, 7], [0, 5], [5, 10], [-1, 5]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(InputError, match="expected 2 lengths between 1 and 9"):
        encode(torch.rand(2, 9), torch.tensor(lengths))


@pytest.mark.parametrize("shape", [(9,), (2, 0), (0, 9), (2, 1, 9)])
def test_clips_of_another_shape_are_refused(shape):
    for lengths in (None, torch.full(shape[:1], 9)):
        with pytest.raises(InputError, match="clips: shape"):
            encode(torch.rand(*shape), lengths)


def test_codes_with_fewer_levels_are_allowed():
    for n_levels in (1, N_LEVELS):
        check_codes(torch.full((2, n_levels, 4), MASK - 1), N_LEVELS, MASK)


@pytest.mark.parametrize("shape", [(2, 4), (2, 0, 4), (2, N_LEVELS + 1, 4), (2, 3, 0), (0, 3, 4)])
def test_codes_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="codes: shape"):
        check_codes(torch.zeros(shape, dtype=torch.long), N_LEVELS, MASK)


@pytest.mark.parametrize(("value", "found"), [(MASK, "0 to 10; expected 0 to 9"), (-1, "-1 to 0"), (0.5, "integers")])
def test_what_is_no_code_is_refused(value, found):
    codes = torch.zeros(1, 3, 4, dtype=torch.tensor(value).dtype)
    codes[0, 1, 2] = value
    with pytest.raises(InputError, match=found):
        check_codes(codes, N_LEVELS, MASK)


def test_gate_silences_whole_quiet_frames_and_nothing_else():
    clip = torch.cat([torch.full((1, 4), 2 * SILENCE_RMS), torch.full((1, 4), SILENCE_RMS / 2)], 1)
    clip[0, 4] = 3 * SILENCE_RMS  # one loud sample keeps its frame
    quiet = torch.full((1, 4), -SILENCE_RMS / 2)
    gated = gate_silence(torch.cat([clip, quiet], 1), hop=4)
    assert torch.equal(gated[:, :8], clip) and (gated[:, 8:] == 0).all()


@pytest.mark.parametrize("name", ["encodec", "", "bundle", "weights.pt"])
def test_an_unknown_codec_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"codec='{name}': expected bundled, patches, encodec_24khz or the path"):
        load_codec(name, device="cpu")


def test_another_codec_is_another_fingerprint(tmp_path):
    """So that the steps of a run which encoded with the first one run again."""
    for seed in (0, 1):
        save_codec(tmp_path / f"{seed}.safetensors", toy_model(seed))
    names = [str(tmp_path / "0.safetensors"), str(tmp_path / "1.safetensors"), "bundled", "patches"]
    assert len({codec_fingerprint({"codec": name, "codec_weights": ""}) for name in names}) == 4


def test_the_controls_notebook_plays_with_a_codec_of_ones_own(tmp_path):
    save_codec(tmp_path / "own.safetensors", toy_model())
    codec = load_codec(str(tmp_path / "own.safetensors"), device="cpu")
    write_wav(tmp_path / "a.wav", CLIPS[0], RATE)
    (tmp_path / "clips.csv").write_text("filename,category,fold\na.wav,rain,1\n")
    recordings = load_recordings("folder", str(tmp_path), "clips.csv")
    write_csv(tmp_path / "codes.csv", encode_recordings(recordings, codec, tmp_path / "cache"))
    shape = {"n_levels": TOY.n_levels, "codebook_size": TOY.codebook_size, "dim": 16, "n_layers": 1, "n_heads": 2}
    model = MaskedConformer(ModelConfig(**shape, conv_kernel=5, n_classes=2)).eval()
    facts = {"codec_hash": codec.content_hash}
    save_checkpoint(tmp_path / "checkpoints" / "last.safetensors", Checkpoint(model, ["dog", "rain"], facts))
    given = {"run_dir": str(tmp_path), "codec": str(tmp_path / "own.safetensors"), "device": "cpu"}
    given |= {"clip_seconds": 0.3, "long_seconds": 0.6}
    notebook = find_root() / "notebooks" / "studies" / "09_hear_controls.ipynb"
    quiet = {"kernel_name": "python3", "cwd": str(find_root()), "progress_bar": False}
    papermill.execute_notebook(str(notebook), str(tmp_path / "09.ipynb"), given, **quiet)
    heard, together, edited = (read_csv(tmp_path / f"{name}.csv") for name in ("controls", "classes", "edits"))
    written = {path.name for path in (tmp_path / "controls").iterdir()}
    assert written == {*heard.filename, *together.filename, *edited.filename}
    assert set(together.control) == {"every class in one batch"} and "rain" in set(together.setting)
    assert {"guidance", "steps at level 0"} <= set(heard.control) and "inpainting" in set(edited.control)
    assert "09_hear_controls" in read_json(tmp_path / "provenance.json")["steps"]
