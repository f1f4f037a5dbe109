"""EnCodec 24 kHz with random weights in Meta's file format: nothing here needs the released file."""

import io
import pickle
import socket
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from fakes.browser import Quiet

from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file
from envsound.codec import encodec_24khz as module
from envsound.codec.encodec_24khz import EnCodec24kHz, empty_model, load_model, released_weights, weights_here


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> tuple[Path, str]:
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
    return path, sha256_file(path)


@pytest.fixture(scope="module")
def codec(weights) -> EnCodec24kHz:
    return EnCodec24kHz(*weights)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """The torch hub cache is empty; return the file that would be looked for there."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints" / "encodec_24khz-d7cc33bc.th"


@pytest.fixture
def server(monkeypatch, tmp_path) -> Path:
    """Meta's server is here, and what is released is a file of a few bytes; return that file."""
    served = tmp_path / "served" / "encodec_24khz-d7cc33bc.th"
    served.parent.mkdir()
    served.write_bytes(b"the released weights")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served.parent)) as running:
        monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{running.server_address[1]}/{served.name}")
        monkeypatch.setattr(module, "RELEASED_SHA256", sha256_file(served))
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield served
        running.shutdown()


@pytest.fixture
def offline(monkeypatch) -> None:
    """No server answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{port}/encodec_24khz-d7cc33bc.th")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.3


@pytest.mark.parametrize("n_samples", [1, 320, 321, 2400])
def test_shapes(codec, n_samples):
    codes = codec.encode(noise(2, n_samples))
    n_frames = -(-n_samples // 320)
    assert codec.n_frames(n_samples) == n_frames
    assert codes.shape == (2, 8, n_frames) and codes.dtype == torch.int64 and ((codes >= 0) & (codes < 1024)).all()
    clips = codec.decode(codes)
    assert clips.shape == (2, n_frames * 320) and clips.dtype == torch.float32 and clips.abs().max() <= 1


def test_agrees_with_the_package(codec):
    assert sum(value.numel() for value in codec.model.parameters()) == 14_851_810 and not codec.model.training
    clips = noise(1, 4800)
    codec.model.set_target_bandwidth(6.0)
    with torch.no_grad():
        [(codes, scale)] = codec.model.encode(clips[:, None])
        decoded = codec.model.decode([(codes, scale)])
    assert scale is None and torch.equal(codec.encode(clips), codes)
    assert torch.allclose(codec.decode(codes), decoded[:, 0])
    assert all(codes[0, level].unique().numel() > 1 for level in range(8))
    books = [layer.codebook for layer in codec.model.quantizer.vq.layers]
    expected = sum(book[level] for book, level in zip(books, codes[0], strict=False)).T
    torch.testing.assert_close(codec.dequantise(codes)[0], expected)
    with pytest.raises(InputError, match="codes: values"):
        codec.decode(torch.full((1, 8, 3), 1024))


@pytest.mark.parametrize(("n_samples", "changed"), [(2560, []), (2561, [8])])
def test_zeros_after_a_clip_change_its_last_partial_frame_only(codec, n_samples, changed):
    """What the module's docstring says of padding, and why clips of different lengths are encoded apart."""
    clips = noise(4, n_samples)
    alone = codec.encode(clips)
    longer = torch.nn.functional.pad(clips, (0, 640), value=0.5)
    together = codec.encode(longer, torch.tensor([n_samples + 640, *[n_samples] * 3]))
    own, rest = together[1:].split([alone.shape[-1], 2], dim=-1)
    assert torch.equal(own, alone[1:]) and (rest == 1024).all()
    padded = codec.encode(torch.nn.functional.pad(clips, (0, 6000 - n_samples)))[:, :, : alone.shape[-1]]
    assert (alone != padded).any(dim=(0, 1)).nonzero().flatten().tolist() == changed


def test_file_with_another_checksum_is_not_unpickled(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", None)  # a call would raise TypeError
    altered = tmp_path / "altered.th"
    altered.write_bytes(b"altered")
    with pytest.raises(InputError) as error:
        load_model(altered, weights[1])
    assert all(text in str(error.value) for text in (str(altered), weights[1], sha256_file(altered)))
    with pytest.raises(InputError, match=module.RELEASED_SHA256):
        EnCodec24kHz(altered)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('this code ran')",)


def torch_bytes(value) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Malicious(), protocol=2), b"not a pickle at all", torch_bytes([1, 2]),
        torch_bytes({"weight": torch.zeros(3)}),
    ],
    ids=["malicious", "text", "list", "dict"],
)  # fmt: skip
def test_pickled_code_never_runs_and_other_content_is_one_clear_error(tmp_path, content):
    path = tmp_path / "other.th"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.th: not a state of EnCodec 24 kHz") as error:
        EnCodec24kHz(path, sha256_file(path))
    assert len(str(error.value)) < 600


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.th: cannot be read \(No such file"):
        EnCodec24kHz(tmp_path / "nowhere.th")


# Meta's release


@pytest.mark.parametrize("cached", [None, b"a damaged cache file"])
def test_weights_are_downloaded_once_into_the_hub_cache(hub, server, cached):
    if cached:
        hub.parent.mkdir(parents=True)
        hub.write_bytes(cached)
    assert weights_here() is None
    assert released_weights() == weights_here() == hub
    server.unlink()
    assert released_weights().read_bytes() == b"the released weights"


def test_another_file_than_the_released_one_is_refused_and_not_kept(hub, server):
    server.write_bytes(b"something else")
    with pytest.raises(InputError, match="sent another file; put the released weights at"):
        released_weights()
    assert not hub.exists() and weights_here(server) is None


def test_offline_without_weights_one_line_says_what_to_put_where(hub, offline):
    with pytest.raises(InputError) as error:
        EnCodec24kHz()
    message = str(error.value)
    assert module.URL in message and f"put the released weights at {hub}" in message and "codec_weights" in message
    assert "\n" not in message and len(message) < 500


def test_the_hub_cache_is_used_without_a_server(hub, offline, weights, codec, monkeypatch):
    monkeypatch.setattr(module, "RELEASED_SHA256", weights[1])
    hub.parent.mkdir(parents=True)
    hub.symlink_to(weights[0])
    assert EnCodec24kHz().content_hash == codec.content_hash == sha256_bytes(f"{weights[1]}:8".encode())
