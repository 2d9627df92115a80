"""``python -m analysis``: a study's front, several compared, one network picked, taken out, checked; and a page of it all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from analysis.commands import add_compare, add_front, add_pick, add_places
from analysis.report import add_report
from analysis.studies import BadStudy, pick
from analysis.sweep import add_sweep
from analysis.taking import POINT, add_export, add_register

__all__ = ["main"]

DONE, FAILED, BAD_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where a network is not what its record says, or none fits; 2 with one line for bad input."""
    arguments = _parser().parse_args(argv)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # package.module:factory is found where the command is given
    try:
        return int(arguments.run(arguments))
    except BadStudy as error:
        print(f"ratefront: {error}", file=sys.stderr)
        return BAD_INPUT


def _verify(arguments: argparse.Namespace) -> int:
    from analysis.lone import decoded, points_of
    from analysis.rebuild import rebuild
    from analysis.verify import Wishes, verify
    from tasks import TaskError
    from tasks.downloads import data_root

    with points_of(arguments.study, arguments.results, arguments.tracking_uri, arguments.experiment) as points:
        if points is None:
            print(decoded(Path(arguments.study)))
            return DONE
        if arguments.point is not None:
            points = [pick(points, arguments.point)]
        try:
            root = data_root(arguments.data_root)
        except TaskError as error:
            raise BadStudy(str(error)) from error
        wishes = Wishes(device=arguments.device, threads=arguments.threads, batch_size=arguments.batch_size)
        study = rebuild(points[0].folder, root)
        return DONE if verify(points, study, wishes, lambda line: print(line, flush=True)) else FAILED


class _Parser(argparse.ArgumentParser):
    """One line for a bad flag, as for any other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"ratefront: {message}; --help shows the flags\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ratefront", description="Look at studies: compare fronts, pick a network, take it out, check it."
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="front|compare|pick|report|export|register|sweep|verify"
    )
    for add in (add_front, add_compare, add_pick, add_report, add_export, add_register, add_sweep, _add_verify):
        add(commands)
    return parser


def _add_verify(commands: Any) -> None:
    check = commands.add_parser(
        "verify",
        help="decode and run every network again, and compare with the record",
        description="Equal conditions must give equal counts; other ones at most 0.1 % of the images apart. "
        "A study over a network or data of one's own (package.module:factory) runs that code. A file that was taken out of a study "
        "is compared with that study's record where it is found, by the file's name.",
    )
    check.add_argument("study", metavar="STUDY|FILE", help="a study's folder or its name, or one network's .rf file")
    add_places(check)
    check.add_argument("point", metavar="POINT", nargs="?", help=f"{POINT}; all where absent")
    check.add_argument("--data-root", type=Path, metavar="DIR", help="where data sets lie (RATEFRONT_DATA)")
    check.add_argument("--device", metavar="NAME", help="cpu, cuda or mps in place of the recorded one")
    check.add_argument("--threads", type=_count(1024), metavar="N", help="in place of those recorded")
    check.add_argument("--batch-size", type=_count(1 << 20), metavar="N", help="in place of the recorded one")
    check.set_defaults(run=_verify)


def _count(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a whole number from 1 to {most}")
        return int(text)

    return count


if __name__ == "__main__":
    sys.exit(main())
