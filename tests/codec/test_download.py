"""Downloads against a loopback server that behaves, or does not."""

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envsound.base.errors import InputError
from envsound.codec import download as module
from envsound.codec.download import download

CONTENT = bytes(range(256)) * 2000  # 512 kB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Server(ThreadingHTTPServer):
    """Serves `content`; drops the first `n_drops` connections half-way through what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.n_drops, self.reset, self.understands_range = CONTENT, 0, False, True
        self.status = 200
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.th"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if asked and server.understands_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            size = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if server.n_drops == 0:
            self.wfile.write(body)
            return
        server.n_drops -= 1
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        if server.reset:  # close with RST instead of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_good_file_is_fetched_once(server, tmp_path, capsys):
    path = tmp_path / "deep" / "weights.th"
    assert download(server.url, path, SHA256) == path
    assert path.read_bytes() == CONTENT
    assert "weights.th" in capsys.readouterr().err  # the progress bar
    download(server.url, path, SHA256, progress=False)
    assert server.ranges == [None]
    assert files(path.parent) == ["weights.th"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("reset", [False, True])
def test_dropped_connection_is_resumed(server, tmp_path, reset):
    server.n_drops, server.reset = 1, reset
    path = download(server.url, tmp_path / "weights.th", SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 2
    if not reset:  # a reset may also lose bytes on their way
        assert server.ranges == [None, f"bytes={HALF}-"]


def test_attempts_count_only_tries_without_new_bytes(server, tmp_path):
    server.n_drops = 6
    path = download(server.url, tmp_path / "weights.th", SHA256, progress=False, attempts=2)
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 7


def test_server_that_always_drops_is_given_up_and_the_part_kept(server, tmp_path):
    server.n_drops, server.understands_range = 1000, False
    with pytest.raises(InputError, match=f"ended after {HALF} of {len(CONTENT)} bytes"):
        download(server.url, tmp_path / "weights.th", SHA256, progress=False, attempts=3)
    assert len(server.ranges) == 3
    assert files(tmp_path) == ["weights.th.part"]


def test_next_run_continues_what_a_killed_one_left(server, tmp_path):
    (tmp_path / "weights.th.part").write_bytes(CONTENT[:1000])
    path = download(server.url, tmp_path / "weights.th", SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / "weights.th.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "weights.th", SHA256, progress=False).read_bytes() == CONTENT
    assert files(tmp_path) == ["weights.th"]


def test_server_ignoring_range_is_read_from_the_start(server, tmp_path):
    server.understands_range = False
    (tmp_path / "weights.th.part").write_bytes(CONTENT[:1000])
    assert download(server.url, tmp_path / "weights.th", SHA256, progress=False).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 1])
def test_corrupt_part_of_an_earlier_run_is_thrown_away(server, tmp_path, size):
    (tmp_path / "weights.th.part").write_bytes(b"x" * size)
    assert download(server.url, tmp_path / "weights.th", SHA256, progress=False).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={size}-", None]


@pytest.mark.parametrize("content", [CONTENT[:HALF], b"x" * len(CONTENT)], ids=["truncated", "wrong"])
def test_other_content_is_one_clear_error_and_deleted(server, tmp_path, content):
    server.content = content
    with pytest.raises(InputError) as error:
        download(server.url, tmp_path / "weights.th", SHA256, progress=False)
    expected = [server.url, str(tmp_path / "weights.th"), SHA256, hashlib.sha256(content).hexdigest()]
    assert all(text in str(error.value) for text in [*expected, f"{len(content)} bytes"])
    assert files(tmp_path) == []
    assert server.ranges == [None]


def test_corrupt_target_is_replaced_only_by_a_good_file(server, tmp_path):
    path = tmp_path / "weights.th"
    path.write_bytes(b"an altered file")
    server.content = CONTENT[:HALF]
    with pytest.raises(InputError):
        download(server.url, path, SHA256, progress=False)
    assert path.read_bytes() == b"an altered file"
    server.content = CONTENT
    assert download(server.url, path, SHA256, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, 3)])
def test_refusal_is_final_but_a_busy_server_is_asked_again(server, tmp_path, status, tries):
    server.status = status
    with pytest.raises(InputError, match=f"HTTP Error {status}"):
        download(server.url, tmp_path / "weights.th", SHA256, progress=False, attempts=3)
    assert len(server.ranges) == tries


def test_no_server(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InputError, match=rf"http://127.0.0.1:{port}/x to .*weights\.th failed"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "weights.th", SHA256, progress=False)
    assert files(tmp_path) == []


def test_two_at_once_download_once(server, tmp_path):
    paths = []
    threads = [
        threading.Thread(
            target=lambda: paths.append(download(server.url, tmp_path / "weights.th", SHA256, progress=False))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3
    assert server.ranges == [None]
