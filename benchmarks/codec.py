"""Bytes and speed of the codecs on networks really trained: `python benchmarks/codec.py results/*/artifacts/*.rf [--random 11160000]`.

For each file the index maps of its quantised tensors: their zero-order entropy a tensor (H0, no table counted), and what `range`
and `lzma` make of them, every byte counted; then symbols a second, one core. `--random N` adds N draws of a Laplacian with 80 % zeros.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from compress.artifact import decode
from compress.codecs import CODECS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--random", type=int, metavar="N", help="and N random integers")
    arguments = parser.parse_args()
    print(
        f"{'file':<28} {'integers':>10} {'zeros':>6} {'H0':>9} {'range':>9} {'/H0':>6} {'lzma':>9} {'/H0':>6} {'enc M/s':>8} {'dec M/s':>8}"
    )
    for path in arguments.files:
        maps = [t.index.reshape(-1) for t in decode(path.read_bytes()).tensors if t.index.dtype.kind != "f"]
        if maps:
            row(path.name, maps)
    if arguments.random:
        draw = np.random.default_rng(0)
        values = np.rint(draw.laplace(0, 2, arguments.random)).astype(np.int32)
        values[draw.random(values.size) < 0.8] = 0
        row("random", [values])
    print(
        f"machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"
    )


def row(name: str, maps: Sequence[np.ndarray]) -> None:
    count, floor = sum(q.size for q in maps), sum(map(entropy, maps))
    zeros = 1 - sum(np.count_nonzero(q) for q in maps) / count
    coded, spent = timed(lambda: [CODECS["range"].encode(q) for q in maps])
    back, undone = timed(lambda: [CODECS["range"].decode(data, q.size) for data, q in zip(coded, maps, strict=True)])
    assert all(np.array_equal(a, b) for a, b in zip(back, maps, strict=True))
    ours, theirs = sum(map(len, coded)), sum(len(CODECS["lzma"].encode(q)) for q in maps)
    print(
        f"{name:<28} {count:>10,} {zeros:>6.1%} {floor:>9,.0f} {ours:>9,} {ours / floor:>6.3f} {theirs:>9,} {theirs / floor:>6.3f}"
        f" {count / spent / 1e6:>8.2f} {count / undone / 1e6:>8.2f}"
    )


def timed(work):
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def entropy(values: np.ndarray) -> float:
    """Bytes."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) / 8


if __name__ == "__main__":
    main()
