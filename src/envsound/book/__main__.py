"""Builds the book: `python -m envsound.book --runs data/runs/demo/fold1_seed0`."""

import argparse
import sys
from collections.abc import Sequence

from envsound.base.errors import InputError
from envsound.base.paths import go_to_root
from envsound.book import BuildError, build, stage
from envsound.book.printing import print_book


def main(arguments: Sequence[str] | None = None) -> int:
    """Stage and build the book; return the exit status. Errors are one message on standard error."""
    parser = argparse.ArgumentParser(prog="python -m envsound.book", description="Build the book.")
    parser.add_argument("--runs", nargs="*", default=[], help="run folders, such as data/runs/demo/fold1_seed0")
    parser.add_argument("--book", default="book", help="the book's source folder")
    parser.add_argument("--pdf", action="store_true", help="print the book that is built, with Chromium")
    parser.add_argument("--stage-only", action="store_true", help="write the pages, render nothing")
    options = parser.parse_args(arguments)
    try:
        go_to_root()
        if options.pdf:
            print(print_book(options.book))
            return 0
        pages = stage(options.runs, options.book)
        print(pages if options.stage_only else build(options.book))
    except (InputError, BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
