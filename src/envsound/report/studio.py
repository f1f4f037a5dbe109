"""A local page to make sounds with: class, length, seed, guidance, candidates, a recording of one's own to go on from.

The page is Gradio's (the optional extra `studio`). It listens on this machine alone, tells nobody that it is used, and
the browser is forbidden to load anything from elsewhere. What is uploaded is bounded in size and length and decoded by
the study's own reader; no name that comes with it is ever used as a path.
"""

import dataclasses
import io
import os
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envsound.base.errors import InputError, NotHere
from envsound.base.files import write_wav
from envsound.data.audio import BadClip, read

if TYPE_CHECKING:
    from envsound.systems.soundstorm.generator import Generator

NAME, HELP = "studio", "open a local page to make sounds with (needs `make studio` once)"
EXAMPLE = "envsound studio --port 7860"
HOST, PORT = "127.0.0.1", 7860
LONGEST = {"seconds": 30.0, "recording": 30.0}  # s, of a new sound and of an uploaded recording
MOST = {"count": 4, "candidates": 8}
UPLOAD_BYTES = 20_000_000
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"  # the page may load from this server alone


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `envsound studio` takes."""
    parser.add_argument("--port", type=int, default=PORT, help=f"of {HOST} ({PORT})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def run(options: Namespace) -> int:
    """Serve the page until it is interrupted. Raises InputError where Gradio is not installed."""
    if not 1 <= options.port <= 65_535:
        raise InputError(f"--port {options.port}: expected 1 to 65535")
    from envsound.systems.soundstorm.generator import load_generator  # needs torch

    app = make_app(load_generator(device=options.device))
    import uvicorn  # comes with Gradio

    print(f"The studio: http://{HOST}:{options.port} (Ctrl-C ends it)")
    uvicorn.run(app, host=HOST, port=options.port, log_level="warning")
    return 0


def make_app(generator: "Generator") -> Any:
    """Return the page as an ASGI application. Raises NotHere where Gradio is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
        from fastapi import FastAPI
    except ImportError:
        raise NotHere("gradio: not installed; expected the extra `studio` (run `make studio`)") from None
    app = FastAPI()

    @app.middleware("http")
    async def at_home(request: Any, call_next: Callable) -> Any:
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    page = _page(gradio, generator)
    return gradio.mount_gradio_app(app, page, path="", max_file_size=UPLOAD_BYTES, show_error=True)


def _page(gradio: Any, generator: "Generator") -> Any:
    named = [(name.replace("_", " "), name) for name in generator.categories]
    with gradio.Blocks(title="envsound studio", analytics_enabled=False) as page:
        gradio.Markdown("# Make sounds\nNew sounds of ten classes, by the generator that ships.")
        with gradio.Row():
            with gradio.Column():
                category = gradio.Radio(named, value=named[0][1], label="Class")
                seconds = gradio.Slider(0.5, LONGEST["seconds"], 3.0, step=0.5, label="Seconds")
                count = gradio.Slider(1, MOST["count"], 1, step=1, label="Sounds")
                seed = gradio.Number(0, precision=0, minimum=0, label="Seed: the same one gives the same sounds")
                guidance = gradio.Slider(1.0, 4.0, 2.0, step=0.25, label="Guidance: how typical of the class")
                candidates = gradio.Slider(1, MOST["candidates"], 1, step=1, label="Keep the best of so many")
                like = gradio.Audio(type="filepath", sources=["upload"], label="Go on from a recording (optional)")
                make = gradio.Button("Make", variant="primary")
            with gradio.Column():
                players = [gradio.Audio(label=f"Sound {n + 1}", visible=n == 0) for n in range(MOST["count"])]
                pictures = [gradio.Image(label=f"Spectrogram {n + 1}", visible=n == 0) for n in range(MOST["count"])]

        def answer(*given: Any) -> list[Any]:
            """Return what players and pictures show for what was asked; whatever cannot be is the page's own error."""
            try:
                made, rate = sounds(generator, *given)
            except InputError as error:
                raise gradio.Error(str(error), print_exception=False) from None
            hidden = [gradio.update(visible=False, value=None)] * (MOST["count"] - len(made))
            samples = [(clip.clip(-1.0, 1.0) * 32_767).astype(np.int16) for clip in made]
            heard = [gradio.update(visible=True, value=(rate, clip)) for clip in samples]
            seen = [gradio.update(visible=True, value=picture(clip, rate)) for clip in made]
            return [*heard, *hidden, *seen, *hidden]

        make.click(answer, [category, seconds, count, seed, guidance, candidates, like], [*players, *pictures])
    return page


def sounds(
    generator: "Generator",
    category: str,
    seconds: float,
    count: int,
    seed: int,
    guidance: float,
    candidates: int,
    like: str | None = None,
) -> tuple[list[np.ndarray], int]:
    """Return clips, float32 [n_samples] each, and their rate in Hz.

    like: an uploaded file that they go on from. Raises InputError for numbers out of bounds, a class that is not there,
    or a recording that cannot be read or is too long.
    """
    from envsound.evaluation.listeners.shipped import ClassScorer
    from envsound.systems.sampling import Selection

    bounds = {"seconds": (seconds, 0.1, LONGEST["seconds"]), "count": (count, 1, MOST["count"])}
    bounds |= {"guidance": (guidance, 1.0, 4.0), "candidates": (candidates, 1, MOST["candidates"])}
    for name, (value, low, high) in bounds.items():
        if value is None or not low <= value <= high:
            raise InputError(f"{name}={value}: expected {low:g} to {high:g}")
    decoding = dataclasses.replace(generator.system.decoding, guidance_scale=float(guidance))
    guided = dataclasses.replace(generator, system=dataclasses.replace(generator.system, decoding=decoding))
    selection = Selection(int(candidates), ClassScorer(generator.system.sample_rate))
    folder = Path(tempfile.mkdtemp(prefix="envsound-studio-"))
    try:
        known = _recording(like, folder, generator.system.sample_rate) if like else ""
        made = guided.sample(category, float(seconds), int(count), int(seed or 0), known, selection=selection)
    finally:
        shutil.rmtree(folder)
    return [*made.audio], made.sample_rate


def _recording(uploaded: str, folder: Path, sample_rate: int) -> Path:
    """Return an uploaded recording as a wav of our own. Raises InputError, which does not name the server's path."""
    if Path(uploaded).stat().st_size > UPLOAD_BYTES:
        raise InputError(f"recording: larger than {UPLOAD_BYTES // 1_000_000} MB; expected a shorter one")
    try:
        reading = read(uploaded, sample_rate, LONGEST["recording"])
    except BadClip as error:
        raise InputError(f"recording: {error.reason}; expected a whole audio file") from None
    if reading.seconds > LONGEST["recording"]:
        raise InputError(f"recording: {reading.seconds:.0f} s long; expected {LONGEST['recording']:g} s at most")
    write_wav(folder / "recording.wav", reading.clip, sample_rate)
    return folder / "recording.wav"


def picture(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the spectrogram of a clip, float [n_samples], as pixels, uint8 [height, width, 4]."""
    import matplotlib.image

    from envsound.report.figures_metrics import spectrogram
    from envsound.report.style import PNG_DPI

    with io.BytesIO() as file:
        spectrogram(clip, sample_rate).savefig(file, format="png", dpi=PNG_DPI)
        file.seek(0)
        return (matplotlib.image.imread(file) * 255).astype(np.uint8)
