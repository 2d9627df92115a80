"""Files that are fetched once: found under the data root, else downloaded when the network allows, always checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DataMissing, TaskError

__all__ = ["Remote", "checked", "data_root", "fetch", "found"]

_TIMEOUT = 10  # seconds without an answer: a machine without network must not wait long for its embedded data


@dataclass(frozen=True)
class Remote:
    """A published file: where it is, its size in bytes, and its md5 or the beginning of its sha256."""

    url: str
    size: int
    digest: str
    algorithm: str = "md5"


def data_root(given: str | os.PathLike[str] | None = None) -> Path:
    """``given``, else ``RATEFRONT_DATA``, else ``~/.cache/ratefront-data``; absolute."""
    path = Path(given or os.environ.get("RATEFRONT_DATA") or "~/.cache/ratefront-data")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise TaskError(f"data root = {str(path)!r}: {error}") from error


def checked(path: Path, digest: str, algorithm: str = "md5") -> Path:
    """The path, where the file's digest begins as published; TaskError where the file is damaged."""
    actual = hashlib.new(algorithm, path.read_bytes(), usedforsecurity=False).hexdigest()
    if not actual.startswith(digest):
        raise TaskError(f"{path}: {algorithm} {actual}, published {digest}; the file is damaged, remove it")
    return path


def found(remote: Remote, target: Path) -> Path:
    """``target``, downloaded where it is not there; TaskError where it is there and damaged."""
    return checked(target, remote.digest, remote.algorithm) if target.exists() else fetch(remote, target)


def fetch(remote: Remote, target: Path, say: Callable[[str], None] | None = None) -> Path:
    """Download to ``target`` with one line that says what and how much; DataMissing where the network does not allow it."""
    tell = say or (lambda line: print(line, file=sys.stderr))
    fresh = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        request = urllib.request.Request(remote.url, headers={"User-Agent": "ratefront"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            tell(f"downloading {remote.url} ({remote.size / 1e6:.1f} MB) to {target.parent}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(fresh, "wb") as file:
                while chunk := answer.read(1 << 20):
                    file.write(chunk)
        checked(fresh, remote.digest, remote.algorithm)
        os.replace(fresh, target)
    except (urllib.error.URLError, http.client.HTTPException, OSError, TaskError) as error:
        raise DataMissing(f"{target.name} is not under {target.parent} and cannot be downloaded ({error})") from error
    finally:
        with suppress(OSError):
            fresh.unlink()
    return target
