"""``python -m analysis report STUDY…`` writes studies as one HTML page that needs neither server nor network, and as PNG."""

from __future__ import annotations

import argparse
import datetime
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.commands import add_places, add_studies
from analysis.studies import BadStudy

if TYPE_CHECKING:
    from analysis.records import Record
    from analysis.server import Server

__all__ = ["add_report", "attach", "leave_report", "report"]

PAGE = "report.html"


def add_report(commands: Any) -> None:
    """The command's flags, among those of its neighbours."""
    command = commands.add_parser(
        "report",
        help="write an HTML page of one or many studies",
        description="One self-contained page: the front to point at and click, hypervolume over epochs spent, knobs and their "
        "importance, every trial, and how it was made.",
    )
    add_studies(command)
    command.add_argument("--out", type=Path, metavar="FILE", default=Path(PAGE), help=f"the page ({PAGE})")
    command.add_argument("--png", type=Path, metavar="DIR", help="the pictures for papers, into this folder")
    command.add_argument("--attach", action="store_true", help="the page goes to the studies' MLflow runs, too")
    add_places(command)
    command.set_defaults(run=report)


def report(arguments: argparse.Namespace) -> int:
    """Write what was asked for and say where; BadStudy for a study, folder or server that cannot be used."""
    from analysis.records import read_record
    from analysis.server import Server, tracking_uri

    server = Server(tracking_uri(arguments.tracking_uri, arguments.results, arguments.studies), arguments.experiment)
    found = server.named(arguments.studies)
    records = [read_record(server, study) for study in found]
    for record in records:
        if record.trials.empty:
            raise BadStudy(f"study = {record.name!r}: must have a trial at least")
    _write(arguments.out, _page(server, found, records))
    print(arguments.out)
    if arguments.png is not None:
        from analysis.pictures import draw_pictures

        for path in _made_folder(arguments.png, lambda folder: draw_pictures(records, folder)):
            print(path)
    if arguments.attach:
        attach(server.uri, records, arguments.out)
        print(f"attached to {', '.join(record.name for record in records)} at {server.uri}")
    return 0


def leave_report(folder: Path, uri: str, experiment: str, study_id: str | None = None) -> Path:
    """The page of a study that has just ended: into its folder and to its MLflow run. BadStudy for whatever stands in the way.

    ``study_id``: the tag of its run, where the server may have others of its name.
    """
    from analysis.records import read_record
    from analysis.server import Server

    try:
        server = Server(uri, experiment)
        own = [study for study in server.studies if study_id and study.tags.get("study_id") == study_id]
        study = own[0] if own else server.study(folder.name)
        if study.tags.get("end", "running") == "running":
            raise BadStudy(f"MLflow at {uri} has not got all of the study yet")
        record = read_record(server, study)
        _write(folder / PAGE, _page(server, [study], [record]))
        attach(uri, [record], folder / PAGE)
    except BadStudy:
        raise
    except Exception as error:  # memory, a record that nobody thought of: the search is over, and stands
        raise BadStudy(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}") from error
    return folder / PAGE


def attach(uri: str, records: Sequence[Record], page: Path) -> None:
    """The page as ``report.html`` of every study's run; BadStudy where MLflow does not take it."""
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory(prefix="ratefront-") as folder:
        named = Path(folder) / PAGE
        named.write_bytes(page.read_bytes())
        for record in records:
            try:
                MlflowClient(tracking_uri=uri).log_artifact(record.run_id, str(named))
            except Exception as error:  # whatever store or network raise
                text = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
                raise BadStudy(f"MLflow at {uri}: does not take {PAGE} ({text})") from error


def _page(server: Server, found: Sequence[Any], records: Sequence[Record]) -> str:
    from analysis.report_page import page
    from analysis.report_tables import made_of

    texts = [server.file(study, "study.yaml") for study in found]
    made = [made_of(None if path is None else path.read_text(encoding="utf-8")) for path in texts]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = shlex.join(["python", "-m", "analysis", "report", *(record.name for record in records)])
    return page(records, made, f"Written on {now} by: {command}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadStudy(f"out = {str(path)!r}: cannot be written ({error.strerror})") from error


def _made_folder(folder: Path, draw: Any) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return list(draw(folder))
    except OSError as error:
        raise BadStudy(f"png = {str(folder)!r}: cannot be written ({error.strerror})") from error
