"""`envsound codec`: measures a codec beside its yardsticks, or prints what there is to know about one."""

import argparse

from envsound.base.errors import exit_code
from envsound.base.paths import taken_to_root

NAME = "codec"
HELP = "measure a codec on clips it has never heard, beside Opus and noise"
EXAMPLE = "envsound codec --codec mine/codec.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the codec, the recordings and the folder of the report."""
    parser.add_argument("--codec", default="patches", help="patches, encodec_24khz or a codec's file")
    parser.add_argument("--weights", default="", help="file of EnCodec's released weights (torch hub cache)")
    parser.add_argument("--dataset", default="material", help="material (the clips that ship), esc50 or folder")
    parser.add_argument("--data-dir", default="", help="folder of the recordings, in place of what ships")
    parser.add_argument("--csv-name", default="meta/esc50.csv", help="csv in it: filename, category, fold")
    parser.add_argument("--esc10-only", action="store_true", help="only the ten classes of ESC-10")
    parser.add_argument("--fold", type=int, default=1, help="the fold measured, which the codec must not have heard")
    parser.add_argument("--run-dir", default="data/runs/codec/patches", help="folder that takes the report")
    parser.add_argument("--listener-epochs", type=int, default=0, help="of the network that listens; 0: none")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--card", action="store_true", help="print the codec's facts and measure nothing")


def run(options: argparse.Namespace) -> int:
    """Measure the codec, or print its facts; returns the exit status."""
    paths = taken_to_root(options.codec, options.weights, options.data_dir, options.run_dir)
    options.codec, options.weights, options.data_dir, options.run_dir = paths
    if options.card:
        return exit_code(lambda: _card(options), "Without --card it is measured.")
    return exit_code(lambda: _measure(options), f"Written to {options.run_dir}")


def _card(options: argparse.Namespace) -> None:
    from envsound.codec import load_codec
    from envsound.codec.codes import codec_facts

    print(codec_facts(load_codec(options.codec, options.weights, options.device)))


def _measure(options: argparse.Namespace) -> None:
    from envsound.data.recordings import load_recordings
    from envsound.run.provenance import step
    from envsound.studies.codec_report.figures import save_figures
    from envsound.studies.codec_report.report import measure_codec
    from envsound.studies.codec_report.tables import systems_table

    source = {name: getattr(options, name) for name in ("dataset", "data_dir", "csv_name", "esc10_only")}
    tools = {"codec": options.codec, "codec_weights": options.weights, "held_out_fold": options.fold}
    tools |= {"listener_epochs": options.listener_epochs, "device": options.device}
    with step(options.run_dir, "08_measure_codec", source | tools) as record:
        report = measure_codec(load_recordings(**source), options.run_dir, **tools)
        record.facts |= report.facts
    save_figures(report, options.run_dir)
    print("\n".join(systems_table(report.systems)))
