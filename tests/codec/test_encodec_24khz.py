"""EnCodec 24 kHz with random weights in Meta's file format: nothing here needs the released file."""

import pickle
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file
from envsound.codec import download as download_module
from envsound.codec import encodec_24khz as module
from envsound.codec.encodec_24khz import EnCodec24kHz, empty_model


@dataclass(frozen=True)
class Weights:
    path: Path
    sha256: str


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    """A random state as `torch.save` writes it, with codebooks of the size of the latents."""
    path = tmp_path_factory.mktemp("weights") / "stand_in.th"
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = empty_model().state_dict()
    for name, value in state.items():
        if name.endswith("._codebook.embed"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.01)
    torch.save(state, path)
    return Weights(path, sha256_file(path))


@pytest.fixture(scope="module")
def codec(weights) -> EnCodec24kHz:
    return EnCodec24kHz(weights.path, weights.sha256)


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """No server answers and the torch hub cache is empty; return the file that would be looked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr(download_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{port}/encodec_24khz-d7cc33bc.th")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / "encodec_24khz-d7cc33bc.th"


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.3


def test_interface(codec):
    assert (codec.name, codec.sample_rate, codec.frame_rate) == ("encodec_24khz", 24_000, 75)
    assert (codec.n_levels, codec.codebook_size) == (8, 1024)
    assert sum(value.numel() for value in codec.model.parameters()) == 14_851_810
    assert not codec.model.training


@pytest.mark.parametrize("n_samples", [1, 7, 319, 320, 321, 2400, 12_001])
def test_shapes(codec, n_samples):
    codes = codec.encode(noise(2, n_samples))
    n_frames = -(-n_samples // 320)
    assert codec.n_frames(n_samples) == n_frames
    assert codes.shape == (2, 8, n_frames)
    assert codes.dtype == torch.int64
    assert ((codes >= 0) & (codes < 1024)).all()
    clips = codec.decode(codes)
    assert clips.shape == (2, n_frames * 320)
    assert clips.dtype == torch.float32
    assert clips.abs().max() <= 1


def test_agrees_with_the_package(codec):
    clips = noise(1, 4800)
    codec.model.set_target_bandwidth(6.0)
    with torch.no_grad():
        [(codes, scale)] = codec.model.encode(clips[:, None])
        decoded = codec.model.decode([(codes, scale)])
    assert scale is None
    assert torch.equal(codec.encode(clips), codes)
    assert torch.allclose(codec.decode(codes), decoded[:, 0])


def test_codes_vary_and_repeat(codec):
    clips = noise(2, 6400)
    codes = codec.encode(clips)
    assert torch.equal(codes, codec.encode(clips))
    assert all(codes[:, level].unique().numel() > 1 for level in range(8))


def test_fewer_levels_are_the_first_ones(codec, weights):
    few = EnCodec24kHz(weights.path, weights.sha256, n_levels=2)
    codes = codec.encode(noise(1, 3200))
    assert torch.equal(few.encode(noise(1, 3200)), codes[:, :2])
    assert torch.equal(few.decode(codes[:, :2]), codec.decode(codes[:, :2]))
    assert few.content_hash != codec.content_hash


def test_codes_do_not_depend_on_padding(codec):
    lengths = torch.tensor([500, 3000, 3200, 4801, 3000])
    clips = noise(5, 6000)
    codes = codec.encode(clips, lengths)
    assert codes.shape == (5, 8, 16)
    for row, length in enumerate(lengths.tolist()):
        n_frames = codec.n_frames(length)
        assert torch.equal(codes[row, :, :n_frames], codec.encode(clips[row : row + 1, :length])[0])
        assert (codes[row, :, n_frames:] == 1024).all()


@pytest.mark.parametrize(("n_samples", "changed"), [(2560, []), (3200, []), (2561, [8]), (3000, [9])])
def test_zeros_after_a_clip_change_its_last_partial_frame_only(codec, n_samples, changed):
    """What the module's docstring says of padding, and why clips of different lengths are encoded apart."""
    clips = noise(4, n_samples)
    alone = codec.encode(clips)
    padded = codec.encode(torch.nn.functional.pad(clips, (0, 6000 - n_samples)))[:, :, : alone.shape[-1]]
    assert (alone != padded).any(dim=(0, 1)).nonzero().flatten().tolist() == changed


@pytest.mark.parametrize("code", [-1, 1024])
def test_what_is_not_a_code_is_not_decoded(codec, code):
    for read in (codec.decode, codec.dequantise):
        with pytest.raises(InputError, match="codes: values"):
            read(torch.full((1, 8, 3), code))


def test_codes_stand_for_the_sum_of_their_code_vectors(codec):
    codes = codec.encode(noise(1, 1600))
    books = [layer.codebook for layer in codec.model.quantizer.vq.layers]
    expected = sum(book[level] for book, level in zip(books, codes[0], strict=False)).T
    torch.testing.assert_close(codec.dequantise(codes)[0], expected)


def test_content_hash_follows_weights_and_levels(codec, weights):
    assert codec.content_hash == sha256_bytes(f"{weights.sha256}:8".encode())
    assert EnCodec24kHz(weights.path, weights.sha256).content_hash == codec.content_hash


def test_file_with_another_checksum_is_not_unpickled(weights, tmp_path, monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("unpickled before the checksum was verified")

    monkeypatch.setattr(torch, "load", load)
    altered = tmp_path / "altered.th"
    shutil.copy(weights.path, altered)
    with open(altered, "r+b") as stream:
        stream.seek(100_000)
        stream.write(b"altered")
    with pytest.raises(InputError) as error:
        EnCodec24kHz(altered, weights.sha256)
    assert all(text in str(error.value) for text in (str(altered), weights.sha256, sha256_file(altered)))
    with pytest.raises(InputError, match=module.RELEASED_SHA256):
        EnCodec24kHz(weights.path)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('this code ran')",)


def test_pickled_code_never_runs(tmp_path):
    path = tmp_path / "malicious.th"
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(InputError, match="not a state of EnCodec 24 kHz"):
        EnCodec24kHz(path, sha256_file(path))


@pytest.mark.parametrize("content", [{"weight": torch.zeros(3)}, [1, 2], None], ids=["dict", "list", "text"])
def test_other_content_is_one_clear_error(tmp_path, content):
    path = tmp_path / "other.th"
    if content is None:
        path.write_bytes(b"not a pickle at all")
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=r"other\.th: not a state of EnCodec 24 kHz") as error:
        EnCodec24kHz(path, sha256_file(path))
    assert len(str(error.value)) < 600


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.th: cannot be read \(No such file"):
        EnCodec24kHz(tmp_path / "nowhere.th")


@pytest.mark.parametrize("n_levels", [0, 33])
def test_number_of_levels(weights, n_levels):
    with pytest.raises(InputError, match=f"n_levels={n_levels}"):
        EnCodec24kHz(weights.path, weights.sha256, n_levels=n_levels)


@pytest.mark.parametrize("cached", [None, b"a damaged cache file"])
def test_offline_without_weights_says_what_to_put_where(offline, cached):
    if cached:
        offline.parent.mkdir(parents=True)
        offline.write_bytes(cached)
    with pytest.raises(InputError) as error:
        EnCodec24kHz()
    message = str(error.value)
    assert module.URL in message
    assert f"put the file at {offline}" in message
    assert "codec_weights" in message


def test_torch_hub_cache_is_used_without_a_server(offline, weights, monkeypatch):
    monkeypatch.setattr(module, "RELEASED_SHA256", weights.sha256)
    offline.parent.mkdir(parents=True)
    shutil.copy(weights.path, offline)
    assert EnCodec24kHz().content_hash == sha256_bytes(f"{weights.sha256}:8".encode())
