"""The command `envsound`: one word for each thing that can be done with the study, from any folder.

A command is a module with NAME, HELP (a line), EXAMPLE, `add_arguments(parser)` and `run(options) -> int`. COMMANDS are
those of the whole study; each of `studies` may have one in its `command.py`. Only the one asked for is imported.
"""

import argparse
import ast
import sys
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name

from envsound import studies
from envsound.base.errors import InputError
from envsound.base.paths import home_that_may_be_written
from envsound.run.identity import module_file

COMMANDS = (
    "envsound.run.pipeline",
    "envsound.report.folders",
    "envsound.report.comparison",
    "envsound.report.sounds",
    "envsound.report.studio",
    "envsound.evaluation.classify",
    "envsound.run.publish",
)
JUDGES = "envsound.evaluation.readings"  # whose reports are published like those of studies


def command_modules() -> dict[str, str]:
    """Return the module of each command, by the command's name."""
    own = [f"{studies.__name__}.{study}.command" for study in studies.study_names()]
    modules = [*COMMANDS, *(module for module in own if module_file(module))]
    return {about["NAME"]: module for module in modules if "NAME" in (about := read_about(module))}


def read_about(module: str) -> Mapping[str, str]:
    """Return the constants that a module binds to names, read from its source: nothing is imported."""
    about = {}
    for node in ast.parse(module_file(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            both = zip(target.elts, value.elts, strict=True) if isinstance(target, ast.Tuple) else [(target, value)]
            about |= {name.id: text.value for name, text in both if isinstance(text, ast.Constant)}
    return about


def make_parser(modules: Mapping[str, str], asked: str) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of the one that is `asked` for."""
    parser = argparse.ArgumentParser(prog="envsound", description=sys.modules["envsound"].__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in modules.items():
        about = read_about(module)
        words = {"help": about["HELP"], "description": f"{about['HELP']}.", "epilog": f"example: {about['EXAMPLE']}"}
        command = commands.add_parser(name, **words)
        if name == asked:
            resolve_name(module).add_arguments(command)
    return parser


def report_kinds() -> list:
    """Return the kinds of report that are published beside runs: those of judges, and of the studies."""
    pages = studies.modules_named("page").values()
    return [kind for module in (resolve_name(JUDGES), *pages) for kind in module.REPORTS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status, or 1 for an error of input or of the system, a line on standard error."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    home_that_may_be_written()
    modules = command_modules()
    options = make_parser(modules, arguments[0] if arguments else "").parse_args(arguments)
    try:
        if options.command == "publish":
            options.kinds = report_kinds()
        return resolve_name(modules[options.command]).run(options)
    except (InputError, OSError) as error:  # OSError: a folder that may not be opened, a full disk
        print(f"envsound {options.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
