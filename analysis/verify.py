"""A front against its own files: each is decoded, its network rebuilt and run again, and the answers are counted.

On validation data, and on test data where the search read them. Under the recorded conditions the count must be the recorded
one. Under others sums are added up in another order, a few
close calls fall otherwise, and the counts may differ by a thousandth of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from analysis.rebuild import Rebuilt
from analysis.studies import BadStudy, Point
from compress.artifact import Artifact, ArtifactError, decode, read
from tasks import TaskError
from tasks.evaluate import CONDITIONS, Evaluation, tally

__all__ = ["Finding", "Record", "Wishes", "check", "verify"]

_TOLERANCE = 1000  # images for each that may be answered otherwise


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Conditions in place of the recorded ones; None: as recorded. BadStudy for a device that is not here."""

    device: str | None = None
    threads: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.device is not None and not _present(self.device):
            here = ", ".join(name for name in ("cpu", "cuda", "mps") if _present(name))
            raise BadStudy(f"device = {self.device!r}: not on this machine, which has {here}")

    def over(self, recorded: Evaluation) -> Evaluation:
        """The conditions to run under; the CPU where the recorded device is not here."""
        device = self.device or (recorded.device if _present(recorded.device) else "cpu")
        threads, size = self.threads or recorded.threads, self.batch_size or recorded.batch_size
        return replace(recorded, device=device, threads=threads, batch_size=size)


@dataclass(frozen=True)
class Record:
    """What front.json says of a point; ``size`` in bytes, ``test`` the accuracy on test data, None where they were not read."""

    point: Point
    evaluation: Evaluation
    accuracy: float
    size: int
    test: float | None = None

    @classmethod
    def of(cls, point: Point) -> Record:
        """BadStudy where a part of it is missing or malformed."""
        accuracy, size = point.number_of("accuracy"), int(point.number_of("size_bytes"))
        test = None if point.row.get("test_accuracy") is None else point.number_of("test_accuracy")
        try:
            return cls(point, Evaluation.from_plain(point.row.get("evaluation")), accuracy, size, test)
        except TaskError as error:
            raise BadStudy(f"{point.folder / 'front.json'}: member {point.number}: {error}") from error


@dataclass(frozen=True)
class Finding:
    """What a file was found to be: bytes, answers on validation and test data (None: none), and in words what is wrong."""

    record: Record
    size: int | None
    now: Evaluation | None
    problems: Sequence[str]
    test: Evaluation | None = None


def verify(points: Sequence[Point], study: Rebuilt, wishes: Wishes, say: Callable[[str], None]) -> bool:
    """Check the points one by one, a line each as soon as it is known, and a verdict; True where all hold.

    BadStudy where the data or the records are not what was counted on.
    """
    records = [Record.of(point) for point in points]
    task, origin = study.task, study.origin
    say(f"{task.spec.network} on {origin.data}, split {origin.split}: {len(task.data.validation):,} validation images")
    for text in dict.fromkeys(_words(record.evaluation) for record in records):
        say(f"recorded under {text}")
    wide = max(len(point.name) for point in points)
    say(f"\n{'#':>3}  {'point':<{wide}}  {'bytes':>11}  {'recorded':>8}  {'now':>8}  {'test':>8}  {'':<4}  conditions")
    failed = []
    for record in records:
        finding = check(record, study, wishes)
        failed += [f"{record.point.number} ({record.point.name})"] if finding.problems else []
        for line in _lines(finding, wide):
            say(line)
    count = f"{len(points)} network{'s' if len(points) != 1 else ''}"
    say(f"\nNOT verified: {len(failed)} of {count}: {', '.join(failed)}" if failed else f"\nverified: {count}")
    return not failed


def check(record: Record, study: Rebuilt, wishes: Wishes) -> Finding:
    """Decode one file, run its network, compare."""
    point, recorded = record.point, record.evaluation
    problems, size, now, test = [], None, None, None
    if record.accuracy != recorded.accuracy:
        right = f"{recorded.correct:,} of {recorded.images:,}"
        problems.append(f"accuracy {record.accuracy!r} in front.json is not its {right}")
    try:
        data = read(point.file)
        size = len(data)
        if size != record.size:
            problems.append(f"{size:,} bytes, front.json says {record.size:,}")
        now = _run(decode(data), study, wishes.over(recorded), "validation")
        if now.images != recorded.images:
            raise BadStudy(f"counted on {recorded.images:,} validation images, {now.images:,} are here")
        problems += _miscounted(recorded, now)
        if record.test is not None:
            test = _run(decode(data), study, wishes.over(recorded), "test")
            then = replace(recorded, correct=round(record.test * test.images), images=test.images)
            problems += [f"test data: {problem}" for problem in _miscounted(then, test)]
    except ArtifactError as error:
        problems.append(str(error))
    except BadStudy as error:
        raise BadStudy(f"{point.name}: {error}") from error
    return Finding(record, size, now, problems, test)


def _run(artifact: Artifact, study: Rebuilt, under: Evaluation, name: str) -> Evaluation:
    part = study.part(name, artifact, torch.device(under.device))
    network = study.network(artifact)
    with _threads(under.threads):
        try:
            return tally(network.to(under.device), part, under.batch_size, under.memory_format)
        except RuntimeError as error:  # no memory, or a network that has changed since
            raise ArtifactError(f"the network does not run ({str(error).split(chr(10), 1)[0]})") from error


def _miscounted(recorded: Evaluation, now: Evaluation) -> list[str]:
    """The rule: equal under equal conditions, else within a thousandth of the images."""
    changed = recorded.differing(now)
    apart = abs(now.correct - recorded.correct)
    allowed = recorded.images // _TOLERANCE if changed else 0
    rule = (
        f"at most {allowed} apart under another {' and '.join(changed)}" if changed else "equal under equal conditions"
    )
    told = f"{now.correct:,} right answers, {recorded.correct:,} recorded"
    return [f"{told}: must be {rule}"] if apart > allowed else []


def _lines(finding: Finding, wide: int) -> Iterator[str]:
    """A row, and what is wrong with it below."""
    point, recorded, now = finding.record.point, finding.record.evaluation, finding.now
    size = "-" if finding.size is None else f"{finding.size:,}"
    count, tested = ("-" if one is None else f"{one.correct:,}" for one in (now, finding.test))
    verdict = "FAIL" if finding.problems else "ok"
    row = f"{point.number:>3}  {point.name:<{wide}}  {size:>11}  {recorded.correct:>8,}  {count:>8}  {tested:>8}  {verdict:<4}"
    yield f"{row}  {_compared(recorded, now)}"
    for problem in finding.problems:
        yield f"     {problem}"


def _compared(recorded: Evaluation, now: Evaluation | None) -> str:
    """The conditions of a run against those recorded."""
    if now is None:
        return "-"
    changed = (f"{name} {getattr(now, name)} for {getattr(recorded, name)}" for name in recorded.differing(now))
    return ", ".join(changed) or "the same"


def _words(evaluation: Evaluation) -> str:
    """The conditions, as a person reads them."""
    return ", ".join(f"{name} {getattr(evaluation, name)}" for name in CONDITIONS)


def _present(device: str) -> bool:
    return {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(device, False)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    held = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(held)
