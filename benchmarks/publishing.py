"""What is kept of a run: a file where one was asked for, and a page, which tells of whole runs."""

from __future__ import annotations

import argparse
from pathlib import Path


def offer(parser: argparse.ArgumentParser) -> None:
    """Add the options that keep a run."""
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    parser.add_argument("--publish", action="store_true", help="let docs/ tell of this run")


def refuse_narrowed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with status 2 where a run is to be published that is less than the default one."""
    if options.publish and (found := narrowed(parser, options)):
        parser.error(
            f"--publish: got {', '.join(found)}; expected a whole run;"
            " leave out what narrows it, or --publish"
        )


def narrowed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """Tell the options by which a run is less than the default one, each with what would do.

    A number is less when it is below its default, a word when it is another: it chooses.
    """
    return [
        f"--{name} {value} (a whole run: {_whole(parser.get_default(name))})"
        for name, value in vars(options).items()
        if _is_less(value, parser.get_default(name))
    ]


def _is_less(value: object, whole: object) -> bool:
    if isinstance(value, int | float) and isinstance(whole, int | float):
        return not value >= whole  # nan is less, too
    return isinstance(value, str) and value != whole


def _whole(default: object) -> str:
    return f"{default} or more" if default else "without it"
