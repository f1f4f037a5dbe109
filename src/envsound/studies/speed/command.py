"""`envsound bench`: measures how fast this machine trains, samples and evaluates."""

import argparse
from functools import partial
from pathlib import Path

from envsound.base.errors import exit_code
from envsound.base.paths import taken_to_root

NAME = "bench"
HELP = "time the model beside the usual implementation, as it grows, on the study's own tokens, or the evaluation"
EXAMPLE = "envsound bench growth --max-seconds 20"
OUT, EVALUATION_OUT = "data/runs/speed", "data/runs/evaluation_speed"
PEER_FOLDER = ".bench"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is measured, each with its own options; without any the model is timed beside the peer."""
    parser.set_defaults(peer=PEER_FOLDER, device="auto", runs=3, compile=False, out=OUT)
    kinds = parser.add_subparsers(dest="what", metavar="{model,growth,tokens,memory,evaluation}")
    model = kinds.add_parser("model", help="the model beside soundstorm-pytorch: bench.json (the default)")
    growth = kinds.add_parser("growth", help="time and memory by length, batch and depth: growth.csv, goes on")
    tokens = kinds.add_parser("tokens", help="the shipped generator's tokens, and a training of its shape: tokens.csv")
    memory = kinds.add_parser("memory", help="memory over thousands of clips, half an hour: memory.csv")
    evaluation = kinds.add_parser("evaluation", help="the acoustic evaluation of notebook 14: evaluation_speed.json")
    model.add_argument("--peer", default=PEER_FOLDER, help='folder the peer was installed into; "" leaves it out')
    model.add_argument("--compile", action="store_true", help="time the model with torch.compile too")
    growth.add_argument("--max-seconds", type=float, default=60.0, help="the longest clip")
    growth.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    for one in (model, growth, tokens):
        one.add_argument("--runs", type=int, default=3, help="timed runs of each task or point")
    for one in (model, growth, tokens, memory):
        one.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
        one.add_argument("--out", default=OUT, help="folder that takes the measurement")
    evaluation.add_argument("--clips", type=int, default=400, help="clips a side")
    evaluation.add_argument("--seconds", type=float, default=5.0, help="length of a clip")
    evaluation.add_argument("--jobs", type=int, default=0, help="processes that measure; 0 takes all cores")
    evaluation.add_argument("--out", default=EVALUATION_OUT, help="folder that takes the measurement")


def run(options: argparse.Namespace) -> int:
    """Measure what was asked for; returns the exit status."""
    options.out, options.peer = taken_to_root(options.out, options.peer)
    kinds = {"model": _model, "growth": _growth, "tokens": _tokens, "memory": _memory, "evaluation": _evaluation}
    return exit_code(lambda: kinds[options.what or "model"](options), f"Written to {options.out}")


def _model(options: argparse.Namespace) -> None:
    from envsound.studies.speed.bench import bench

    show = partial(print, flush=True)
    bench(options.out, options.device, options.runs, options.peer, options.compile, show)


def _growth(options: argparse.Namespace) -> None:
    from envsound.report.style import save_figure
    from envsound.studies.speed.bench import grow
    from envsound.studies.speed.figures import growth_figure

    found = grow(options.out, options.device, options.runs, options.max_seconds, options.precision)
    save_figure(growth_figure(found), Path(options.out) / "figures", "growth")


def _tokens(options: argparse.Namespace) -> None:
    from envsound.studies.speed.tokens import measure_tokens

    print(measure_tokens(options.out, options.device, options.runs).to_string(index=False))


def _memory(options: argparse.Namespace) -> None:
    from envsound.studies.speed.tokens import measure_memory

    print(measure_memory(options.out, options.device).to_string(index=False))


def _evaluation(options: argparse.Namespace) -> None:
    from envsound.studies.speed.evaluation import Task, time_evaluation

    task = Task(options.clips, options.seconds)
    time_evaluation(options.out, options.jobs, task, on_line=partial(print, flush=True))
