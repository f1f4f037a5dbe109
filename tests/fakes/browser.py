"""What tests in a real browser share: a server that keeps quiet and a refusal that is a skip or a failure."""

import http.server
import os

import pytest

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


def unavailable(message: str) -> None:
    """Skip with `message`, or fail where a browser is required."""
    if os.environ.get("ENVSOUND_REQUIRE_BROWSER") == "1":
        pytest.fail(f"ENVSOUND_REQUIRE_BROWSER=1, but {message}")
    pytest.skip(message)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that does not report every request."""

    def log_message(self, *_) -> None:
        """Say nothing."""
