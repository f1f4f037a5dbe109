"""The studio: what it makes is bounded, uploads are no paths, and its page works in a browser without the network."""

import socket
import threading
import time

import numpy as np
import pytest
from fakes.soundstorm import small_checkpoint, small_codec

from envsound import cli
from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.report import studio
from envsound.report.studio import make_app, picture, sounds
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.generator import Generator
from envsound.systems.soundstorm.system import SoundStorm

RATE = 24_000
ASKED = {"category": "rain", "seconds": 0.5, "count": 2, "seed": 3, "guidance": 2.0, "candidates": 1}


@pytest.fixture(scope="module")
def generator() -> Generator:
    """Untrained."""
    return Generator(SoundStorm(small_checkpoint(), small_codec(), DecodingConfig((2, 1), fine_temperature=1.0)))


def test_one_seed_makes_one_set_of_sounds_and_guidance_changes_them(generator):
    made, rate = sounds(generator, **ASKED)
    again, _ = sounds(generator, **ASKED)
    other, _ = sounds(generator, **ASKED | {"guidance": 4.0})
    assert rate == RATE and all(abs(len(clip) - RATE / 2) <= 320 for clip in made)
    assert np.array_equal(made, again) and not np.array_equal(made, other)
    assert generator.system.decoding.guidance_scale == 1.0  # the generator itself stays as it was


def test_a_recording_is_gone_on_from(generator, tmp_path):
    write_wav(tmp_path / "mine.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    made, _ = sounds(generator, **ASKED, like=str(tmp_path / "mine.wav"))
    assert abs(len(made[0]) - 1.5 * RATE) < RATE / 50


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"seconds": 31.0}, "seconds=31.0"),
        ({"count": 0}, "count=0"),
        ({"candidates": 9}, "candidates=9"),
        ({"guidance": float("nan")}, "guidance=nan"),
        ({"seconds": None}, "seconds=None"),
        ({"category": "../rain"}, "not a class"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_what_is_out_of_bounds_is_refused(generator, given, named):
    with pytest.raises(InputError, match=named.replace("..", r"\.\.") if named != "not a class" else named):
        sounds(generator, **ASKED | given)


@pytest.mark.parametrize("kind", ["no audio", "too long", "too large"])
def test_an_upload_is_refused_without_the_path_of_the_server(generator, tmp_path, monkeypatch, kind):
    place = tmp_path / "upload.wav"
    write_wav(place, np.zeros(RATE // 10) if kind == "too large" else 0.1 * np.ones(31 * RATE), RATE)
    if kind == "no audio":
        place.write_text("not a sound")
    if kind == "too large":
        monkeypatch.setattr(studio, "UPLOAD_BYTES", 100)
    with pytest.raises(InputError, match="recording") as caught:
        sounds(generator, **ASKED, like=str(place))
    assert str(tmp_path) not in str(caught.value)


def test_a_picture_has_pixels_and_a_tone_is_seen():
    pixels = picture(0.5 * np.sin(np.arange(RATE) * 0.3), RATE)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.std() > 10


def test_a_port_that_is_none_is_one_line(capsys):
    assert cli.main(["studio", "--port", "0"]) == 1
    assert "expected 1 to 65535" in capsys.readouterr().err


@pytest.fixture
def served(generator):
    """The page on a free port of this machine."""
    pytest.importorskip("gradio", reason="the extra `studio` is not installed")
    import uvicorn

    with socket.socket() as probe:
        probe.bind((studio.HOST, 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(generator), studio.HOST, port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.1)
    yield f"http://{studio.HOST}:{port}"
    server.should_exit = True
    thread.join(20)


def test_in_a_browser_a_click_makes_a_sound_and_nothing_comes_from_elsewhere(served, browser):
    page, reached = browser.new_page(), []
    page.on("requestfinished", lambda request: reached.append(request.url))
    page.goto(served)
    page.get_by_label("rain").check()
    page.get_by_role("button", name="Make").click()
    page.wait_for_selector("audio", state="attached", timeout=120_000)
    page.wait_for_selector("img[src]", timeout=120_000)
    assert reached and not [url for url in reached if not url.startswith((served, "data:", "blob:"))]
