"""Pictures of the decoding schedule, drawn from the very functions that decode.

Colours are CSS variables of the book's stylesheet, with fallbacks, so that a picture placed inside a page
follows its light or dark theme. The grids are written as SVG paths directly: matplotlib's would be fifty
times the size.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from envsound.base.files import write_text
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.masking import n_masked_after

MASKED, FIXED, NEW = 0, 1, 2
FILLS = {
    MASKED: "var(--es-masked, #d5dae1)",
    FIXED: "var(--es-real, #0072b2)",
    NEW: "var(--es-generated, #d55e00)",
}
INK, BLUE, ORANGE = "#010203", "#0072b2", "#d55e00"  # drawn by matplotlib, replaced by what the theme says
THEME = {INK: "var(--es-ink, #1f2933)", BLUE: FILLS[FIXED], ORANGE: FILLS[NEW]}
CELL, LINE, GAP = 4.6, 6.4, 16  # width of a frame, height of a level, space around a panel; pixels


def decoding_states(steps_per_level: Sequence[int], n_frames: int, seed: int = 0) -> np.ndarray:
    """Return the state of every code after each pass: int8 [n_passes + 1, n_levels, n_frames], row 0 all
    masked.

    States are MASKED, FIXED (by an earlier pass) and NEW (by this pass). How many codes a pass fixes is
    exactly what decoding does; which ones depends on the model, so here their order is drawn by `seed`.
    """
    rng = np.random.default_rng(seed)
    state = np.full((len(steps_per_level), n_frames), MASKED, dtype=np.int8)
    states = [state.copy()]
    for level, n_steps in enumerate(steps_per_level):
        order = rng.permutation(n_frames)
        for step in range(1, n_steps + 1):
            before, after = (n_masked_after(k, n_steps, n_frames) for k in (step - 1, step))
            state[state == NEW] = FIXED
            state[level, order[n_frames - before : n_frames - after]] = NEW
            states.append(state.copy())
    return np.stack(states)


def decoding_svg(steps_per_level: Sequence[int], n_frames: int = 48, columns: int = 4) -> str:
    """Return the codes after every pass as small grids in one SVG, levels downwards and frames rightwards."""
    states = decoding_states(steps_per_level, n_frames)
    passes = [(q, k, n) for q, n in enumerate(steps_per_level) for k in range(1, n + 1)]
    names = ["start: all masked"]
    names += [f"pass {p}: level {q}, step {k} of {n}" for p, (q, k, n) in enumerate(passes, start=1)]
    width, height = n_frames * CELL + GAP, states.shape[1] * LINE + 2 * GAP
    panels = [
        _panel(state, name, GAP / 2 + width * (number % columns), height * (number // columns))
        for number, (state, name) in enumerate(zip(states, names, strict=True))
    ]
    size = f"0 0 {width * columns:g} {height * -(-len(states) // columns):g}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="{size}" class="decoding">'
    return "\n".join([head, "<title>Which codes are masked after each decoding pass</title>", *panels, "</svg>"])


def _panel(state: np.ndarray, name: str, x: float, y: float) -> str:
    """Return one grid int8 [n_levels, n_frames] with its name above, at (x, y)."""
    paths = [f'<path d="{_cells(state == value)}" fill="{fill}"/>' for value, fill in FILLS.items()]
    text = f'<text y="-4" font-size="10.5" fill="{THEME[INK]}">{name}</text>'
    return f'<g transform="translate({x:g} {y + GAP:g})">{text}{"".join(paths)}</g>'


def _cells(chosen: np.ndarray) -> str:
    """Return an SVG path over the True cells of a grid [n_levels, n_frames], one rectangle for each run of
    them.
    """
    path = []
    for level, row in enumerate(chosen):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        for start, end in edges.reshape(-1, 2):
            run = (end - start) * CELL
            path.append(f"M{start * CELL:g} {level * LINE:g}h{run:g}v{LINE - 0.7:g}h{-run:g}z")
    return "".join(path)


def draw_schedule(n_steps: int, n_frames: int = 375) -> Figure:
    """Draw how many codes of one level stay masked after each pass, and how many each pass fixes."""
    masked = np.array([n_masked_after(step, n_steps, n_frames) for step in range(n_steps + 1)])
    figure, axis = plt.subplots(figsize=(7.2, 2.9), layout="constrained")
    axis.bar(np.arange(1, n_steps + 1), -np.diff(masked), color=ORANGE, width=0.62, label="fixed by this pass")
    axis.plot(np.arange(n_steps + 1), masked, color=BLUE, marker="o", markersize=5, label="still masked after it")
    axis.set_xlabel("pass", color=INK)
    axis.set_ylabel(f"codes of {n_frames}", color=INK)
    axis.set_xticks(range(n_steps + 1))
    axis.tick_params(colors=INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(INK)
    axis.legend(frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0.0, 0.02))
    return figure


def figure_svg(figure: Figure, title: str) -> str:
    """Return a figure as SVG for use inside a page: text as text, theme colours, transparent; closes the
    figure.
    """
    stream = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>| font-family: [^;\"]*;", "", text, flags=re.DOTALL)
    for drawn, shown in THEME.items():
        text = text.replace(drawn, shown)
    return text.replace("<svg ", '<svg role="img" ', 1).replace(">", f">\n<title>{title}</title>", 1)


def write_drawings(folder: str | Path, steps_per_level: Sequence[int] = ()) -> list[Path]:
    """Write decoding.svg and schedule.svg into `folder`, for the default (published) schedule or the given
    one.
    """
    steps = list(steps_per_level) or list(DecodingConfig().steps_per_level)
    pictures = {
        "decoding.svg": decoding_svg(steps),
        "schedule.svg": figure_svg(draw_schedule(steps[0]), "Codes still masked and newly fixed at each pass"),
    }
    for name, text in pictures.items():
        write_text(Path(folder) / name, text)
    return [Path(folder) / name for name in pictures]
