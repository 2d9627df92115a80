"""``python -m compress info FILE`` prints what a file holds; ``decode FILE OUT`` writes a PyTorch state dict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from compress.artifact import Artifact, ArtifactError, decode, decompress, read

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line for a file that cannot be read, decoded or written."""
    parser = argparse.ArgumentParser(prog="compress", description="Look into a compressed network, or decode it.")
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="print a table of the tensors in FILE")
    info.add_argument("file", metavar="FILE")
    unpack = commands.add_parser("decode", help="write the state dict of FILE to OUT (.pt)")
    unpack.add_argument("file", metavar="FILE")
    unpack.add_argument("out", metavar="OUT", type=Path)
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "info":
            print(_table(decode(read(arguments.file))))
        else:
            if arguments.out.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            state = decompress(arguments.file)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, arguments.out)
            print(f"{arguments.out}: {len(state)} tensors, {sum(t.numel() for t in state.values()):,} numbers")
    except ArtifactError as error:
        message = str(error)
        print(message if arguments.file in message else f"{arguments.file}: {message}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:  # torch.save raises either
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        print(f"{getattr(arguments, 'out', 'output')}: cannot be written ({reason})", file=sys.stderr)
        return 2
    return 0


def _table(artifact: Artifact) -> str:
    card = artifact.card
    given = card.get("original_weights")
    weights = given if isinstance(given, int) and given > 0 else max(sum(t.index.size for t in artifact.tensors), 1)
    network = card.get("network")
    named = f"{network.get('name', '?')} {network.get('kwargs') or ''}" if isinstance(network, dict) else "?"
    lines = [
        f"network   {named}".rstrip(),
        f"method    {card.get('method', '?')}",
        f"data      {card.get('data', '?')}, split {card.get('split', '?')}, input {card.get('input_shape', '?')}",
        f"size      {artifact.size:,} bytes, {8 * artifact.size / weights:.3f} bits a weight, "
        f"{4 * weights / artifact.size:.1f}x smaller than {weights:,} float32 weights",
        "",
        f"{'tensor':<32} {'shape':<18} {'bytes':>9} {'decoder':<9} {'bits':>5} {'zeros':>7} {'levels':>7}  codec",
    ]
    for t, section in zip(artifact.tensors, artifact.sections, strict=True):
        zeros = 1 - np.count_nonzero(t.index) / max(t.index.size, 1)
        levels = str(len(np.unique(t.index))) if t.decoder != "raw" else "-"
        shape = "x".join(map(str, t.index.shape)) or "scalar"
        lines.append(
            f"{t.name:<32} {shape:<18} {section.size:>9,} {t.decoder:<9} {t.bits:>5g} {zeros:>7.1%} {levels:>7}"
            f"  {section.model}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
