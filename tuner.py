"""ratefront: how small can a network get? The command line: a search space becomes a study, a study becomes a front."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from search import Front
    from search.folder import StudyFolder
    from search_spaces import Space

__all__ = ["main"]

DONE, ERROR, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 done, 1 error, 2 bad input, 3 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["compress"]:
        from compress.__main__ import main as compress_main

        return compress_main(words[1:])
    if words and words[0] in ("compare", "export", "front", "pick", "register", "report", "sweep", "verify"):
        from analysis.__main__ import main as analysis_main

        return analysis_main(words)
    from search.interrupt import as_interrupts

    arguments = _parser().parse_args(words)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # package.module:factory is found where the command is given
    try:
        with as_interrupts():
            return _act(arguments, words)
    except KeyboardInterrupt:
        print("ratefront: interrupted", file=sys.stderr)
        return INTERRUPTED


def _act(arguments: argparse.Namespace, words: list[str]) -> int:
    """Take the study's folder before torch and Ray are imported, then do what was asked."""
    from search.command import take
    from search.folder import StudyError

    if arguments.list or arguments.dry_run or not (arguments.space or arguments.resume):
        return _asked(arguments, None)
    try:
        folder, arguments = take(arguments, words, _parser())
    except StudyError as error:
        return _refuse(error)
    try:
        return _asked(arguments, folder)
    finally:
        folder.discard()


def _asked(arguments: argparse.Namespace, folder: StudyFolder | None) -> int:
    from compress import KnobError
    from search.command import changes
    from search_spaces import Space, SpaceError
    from tasks import TaskError

    try:
        if arguments.list:
            return _list()
        if not arguments.space:
            raise SpaceError("--space is missing: a name that --list shows, or a YAML file")
        space = Space.load(arguments.space, changes(arguments))
        return _search(space, arguments, folder) if folder else _dry_run(space, arguments)
    except (SpaceError, TaskError, KnobError) as error:
        return _refuse(error)


def _print(text: str) -> None:
    """To standard output; nobody reading it any more is no error of ours."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at exit goes there


def _refuse(error: Exception) -> int:
    print(f"ratefront: {error}", file=sys.stderr)
    return BAD_INPUT


def _list() -> int:
    from search_spaces import Space, available

    wide = max(map(len, available()))
    _print(f"{'space':<{wide}} {'method':<9} {'network':<9} {'data':<9} searches")
    for name in available():
        space = Space.load(name)
        searched = ", ".join(space.file.search) or "nothing: one trial"
        _print(f"{name:<{wide}} {space.file.method:<9} {space.task.network:<9} {space.file.task.data:<9} {searched}")
    return DONE


def _search(space: Space, arguments: argparse.Namespace, folder: StudyFolder) -> int:
    from search import Settings, StudyError, run
    from search.events import Events
    from search.files import DiskFull
    from search.summary import front_table, next_steps

    settings = Settings(
        data_root=arguments.data_root,
        strict_data=arguments.data is not None,
        address=arguments.address,
        tracking_uri=arguments.tracking_uri,
        experiment=arguments.experiment,
        warm_start=arguments.warm_start,
        quiet=arguments.quiet,
        json=arguments.json,
        retry_errored=arguments.retry_errored,
        repeats=arguments.repeats,
    )
    try:
        front = run(space, settings, folder)
    except StudyError as error:
        return _refuse(error)
    except (ConnectionError, DiskFull, MemoryError) as error:
        print(f"ratefront: {error}", file=sys.stderr)
        return ERROR
    if not arguments.json:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        _print(("\n" + front_table(front, width) + "\n\n" if len(front) else "") + next_steps(front))
    code = _exit_code(front)
    if arguments.json:
        Events().end(front, code)
    if code == DONE and not arguments.no_report:
        _leave_report(front, arguments)
    return code


def _exit_code(front: Front) -> int:
    """With a line for what is not as it was asked for."""
    from search.summary import wrong

    if line := wrong(front):
        print(f"ratefront: {line}", file=sys.stderr)
    return INTERRUPTED if front.interrupted else ERROR if line else DONE


def _leave_report(front: Front, arguments: argparse.Namespace) -> None:
    """The page, last of all: whatever hinders it is one line, and the search has done its work all the same."""
    from analysis.report import leave_report
    from analysis.studies import BadStudy
    from search.tracking import without_password

    where = str(front.about["tracking"])
    try:
        page = leave_report(front.folder, where, arguments.experiment, front.about.get("study_id"))
    except (BadStudy, KeyboardInterrupt) as error:
        words = ["report", str(front.folder), "--attach", "--out", str(front.folder / "report.html")]
        places = ["--tracking-uri", without_password(where), "--experiment", arguments.experiment]
        command = shlex.join(["python", "-m", "analysis", *words, *places])
        print(f"ratefront: no report.html ({str(error) or 'interrupted'}); {command} writes it", file=sys.stderr)
    else:
        if not arguments.json:
            _print(f"report   {page}")


def _dry_run(space: Space, arguments: argparse.Namespace) -> int:
    """The resolved space, one sampled configuration, the dense network's size, the estimated time; writes nothing."""
    import yaml

    from search.ground import advice, dry_size, open_space
    from search.progress import speaker
    from search.searcher import sample
    from tasks.downloads import data_root
    from trainables.base import recipe_of
    from trainables.dense import price_of

    opened = open_space(space, data_root(arguments.data_root), arguments.data is not None, speaker(False))
    space = opened.space
    config, resources = space.config(sample(space)), space.file.resources
    size = dry_size(opened)
    for part in ({"space": space.resolved()}, {"sampled": config}):
        _print(yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=100).rstrip())
    _print(size)
    concurrent = min(int((os.cpu_count() or 1) // resources.cpu) or 1, resources.concurrent or 1 << 30)
    price = price_of(opened.task, recipe_of(config), resources.device, resources.cpu)
    _print("\n".join(advice(space, price, concurrent, resources.device)))
    return DONE


class _Parser(argparse.ArgumentParser):
    """One line for a bad flag, as for any other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; --help shows the flags\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ratefront",
        description="Find how small a neural network can get: a search over one compression method's knobs.",
        epilog="ratefront compress info|decode FILE looks into one compressed file; ratefront export STUDY POINT and "
        "ratefront verify STUDY are for a finished study, front, pick and compare for any.",
    )
    _add_search(parser.add_argument_group("what is searched"), parser.add_argument_group("how much"))
    _add_places(parser.add_argument_group("where"))
    again = parser.add_argument_group("going on")
    again.add_argument("--resume", metavar="NAME", help="a study that ended early; auto: the newest, or a new one")
    again.add_argument("--extend", type=int, metavar="N", help="with --resume: N trials more")
    again.add_argument("--retry-errored", action="store_true", help="with --resume: trials that crashed, once more")
    again.add_argument("--no-report", action="store_true", help="leave out the page report.html at the end")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="print the end alone")
    shown.add_argument("--json", action="store_true", help="print the search as events, one JSON object a line")
    return parser


def _add_search(what: argparse._ArgumentGroup, much: argparse._ArgumentGroup) -> None:
    what.add_argument("--space", metavar="NAME|FILE", help="a search space by name or file")
    what.add_argument("--list", action="store_true", help="show the spaces and end")
    what.add_argument("--dry-run", action="store_true", help="print the space, one configuration, the time; then end")
    what.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a key of the space, or fix a knob; repeatable",
    )
    what.add_argument(
        "--data",
        metavar="NAME",
        help="data set: digits, mnist, fashion_mnist, cifar10, cifar100, package.module:factory or a folder; an error where absent",
    )
    what.add_argument("--sampler", metavar="NAME", help="auto, ehvi, tpe, nsga2, nsga3, gp, qmc or random (auto)")
    what.add_argument("--seed", type=int, metavar="N", help="of everything that is drawn")
    what.add_argument(
        "--max-size", metavar="SIZE", help="of the file, such as 800B, 40kB or 1.5MB: larger ones are of no use"
    )
    what.add_argument("--warm-start", metavar="NAME", help="a study in the same results: its front is tried first")
    what.add_argument("--min-accuracy", type=float, metavar="X", help="on validation data, from 0 to 1")
    what.add_argument("--max-gops", type=float, metavar="X", help="of one inference")
    much.add_argument("--trials", type=int, metavar="N")
    much.add_argument("--epochs", type=int, metavar="N", help="of a trial, everything included")
    much.add_argument("--time-budget", metavar="TIME", help="wall time of all, such as 90s, 8m or 1h30m")
    much.add_argument(
        "--patience", type=int, metavar="N", help="end when N trials together raised the hypervolume by less than 1 %%"
    )
    much.add_argument(
        "--repeats",
        type=_repeats,
        metavar="N",
        default=0,
        help="train the front's trials again with N new seeds, from 2",
    )


def _repeats(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a whole number from 2 to 100")
    return int(text)


def _add_places(where: argparse._ArgumentGroup) -> None:
    where.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or mps")
    where.add_argument("--cpus-per-trial", type=float, metavar="X")
    where.add_argument("--gpus-per-trial", type=float, metavar="X", help="fractions share a GPU")
    where.add_argument("--max-concurrent", type=int, metavar="N", help="trials at once; as many as fit where absent")
    where.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster; a Ray of its own where absent")
    where.add_argument("--data-root", type=Path, metavar="DIR", help="where data sets lie (RATEFRONT_DATA)")
    where.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="where studies go (results)"
    )
    where.add_argument("--name", metavar="NAME", help="of the study's folder; the space and the time where absent")
    where.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow (MLFLOW_TRACKING_URI, else an SQLite file at the results' root)"
    )
    where.add_argument("--experiment", metavar="NAME", default="ratefront", help="MLflow experiment (ratefront)")
    where.add_argument("--keep", metavar="WHAT", help="files that outlive the search: front, trials or all (front)")


if __name__ == "__main__":
    sys.exit(main())
