"""Bytes and speed of the entropy coder on networks really trained: `python benchmarks/codec.py FILES [--nncodec FOLDER] [--resnet18]`.

FILES are compressed networks; `trained.py` makes the five of docs/results.md. Of their integer maps: the zero-order entropy a tensor (H0,
without any table), our sections (every byte but the decoder floats), xz's coder and zstandard on packed integers, and DeepCABAC, of
whose modes the smallest is taken for each tensor, plus a byte that says which. `--parts` codes once more without each of the contexts.

    python -m pip install zstandard
    python -m pip install --no-deps --target /tmp/nncodec nncodec==2.1.3
"""

import argparse
import importlib.util
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from compress import contexts
from compress.artifact import decode
from compress.codecs import CODECS

Maps = Sequence[np.ndarray]
RESNET18 = [
    (64, 3, 7, 7),
    *[(64, 64, 3, 3)] * 4,
    *[(128, 64, 3, 3), *[(128, 128, 3, 3)] * 3, (128, 64, 1, 1)],
    *[(256, 128, 3, 3), *[(256, 256, 3, 3)] * 3, (256, 128, 1, 1)],
    *[(512, 256, 3, 3), *[(512, 512, 3, 3)] * 3, (512, 256, 1, 1)],
    (1000, 512),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--nncodec", type=Path, metavar="FOLDER", help="where NNCodec is installed")
    parser.add_argument(
        "--resnet18", action="store_true", help="and the speed on a ResNet-18's shapes, drawn at random"
    )
    parser.add_argument("--parts", action="store_true", help="and what each of the contexts buys")
    arguments = parser.parse_args()
    nets = {path.stem: maps_of(path) for path in arguments.files}
    rivals = {"zero-order": lambda maps: sum(map(entropy, maps)), "xz": xz, "zstandard": zstandard()}
    rivals["DeepCABAC"] = deepcabac(arguments.nncodec)
    bytes_table(nets, {name: count for name, count in rivals.items() if count})
    speed_table(nets)
    if arguments.parts:
        parts_table(nets)
    if arguments.resnet18:
        speed_table({"ResNet-18, random": drawn(RESNET18)})
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")


def maps_of(path: Path) -> Maps:
    """The quantised tensors of a file; vectors are not counted."""
    return [t.index for t in decode(path.read_bytes()).tensors if t.index.dtype.kind != "f" and t.index.ndim > 1]


def ours(maps: Maps) -> int:
    return sum(len(CODECS["context"].encode(q)) for q in maps)


def bytes_table(nets: dict[str, Maps], rivals: dict[str, Callable[[Maps], float]]) -> None:
    print(
        f"{'network':<20} {'integers':>10} {'zeros':>6} {'ours':>9}"
        + "".join(f" {name:>10} {'ours/':>6}" for name in rivals)
    )
    total = np.zeros(1 + len(rivals))
    for name, maps in nets.items():
        count = sum(q.size for q in maps)
        zeros = 1 - sum(np.count_nonzero(q) for q in maps) / count
        row = np.array([ours(maps), *(rival(maps) for rival in rivals.values())])
        total += row
        print(f"{name:<20} {count:>10,} {zeros:>6.1%} {bytes_row(row)}")
    print(f"{'all':<20} {'':>10} {'':>6} {bytes_row(total)}")


def bytes_row(row: np.ndarray) -> str:
    return f"{row[0]:>9,.0f}" + "".join(f" {other:>10,.0f} {row[0] / other:>6.3f}" for other in row[1:])


def speed_table(nets: dict[str, Maps]) -> None:
    print(f"\n{'network':<20} {'encode s':>9} {'decode s':>9} {'M/s':>6} {'M/s':>6}")
    for name, maps in nets.items():
        coded, spent = timed(lambda maps=maps: [CODECS["context"].encode(q) for q in maps])
        shapes = [q.shape for q in maps]
        pairs = list(zip(coded, shapes, strict=True))
        back, undone = timed(lambda pairs=pairs: [CODECS["context"].decode(*pair) for pair in pairs])
        assert all(np.array_equal(a, b) for a, b in zip(back, maps, strict=True))
        count = sum(q.size for q in maps) / 1e6
        print(f"{name:<20} {spent:>9.3f} {undone:>9.3f} {count / spent:>6.2f} {count / undone:>6.2f}")


def parts_table(nets: dict[str, Maps]) -> None:
    """Bytes without one of the contexts over bytes with all."""

    def blind(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda *given: np.zeros_like(function(*given))

    def flat(row: np.ndarray, column: np.ndarray, begun: bool) -> np.ndarray:
        return np.zeros(len(row) * len(column), np.int64)

    changes = {
        "rows and columns": {"_density": flat},
        "neighbours' lengths": {"_neighbours": blind(contexts._neighbours), "_weighted": blind(contexts._weighted)},
        "neighbours' signs": {"Mixture": Unsigned},
        "scans by pixels": {"scans": lambda shape, every=contexts.scans: every(shape)[:1]},
    }
    whole = {name: ours(maps) for name, maps in nets.items()}
    print(f"\n{'without':<22}" + "".join(f" {name:>14}" for name in nets))
    for label, patches in changes.items():
        with mock.patch.multiple(contexts, **patches):
            print(f"{label:<22}" + "".join(f" {ours(maps) / whole[name]:>14.3f}" for name, maps in nets.items()))


class Unsigned(contexts.Mixture):
    """Knows nothing where the bit is a sign."""

    def code(self, coder, bits, seen):
        signs = self.seen[-1].shape[1] == 2 * contexts._LEAN + 1
        return super().code(coder, bits, [np.zeros_like(c) for c in seen] if signs else seen)


def timed(work: Callable[[], list]) -> tuple[list, float]:
    """Result and least seconds of three runs."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return result, min(times)


def entropy(values: np.ndarray) -> float:
    """Bytes."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) / 8


def packed(q: np.ndarray) -> bytes:
    return q.astype(np.int8 if np.abs(q).max(initial=0) < 128 else np.int32).tobytes()


def xz(maps: Maps) -> int:
    return sum(len(CODECS["lzma"].encode(q)) for q in maps)


def zstandard() -> Callable[[Maps], int] | None:
    if not importlib.util.find_spec("zstandard"):
        return None
    import zstandard as package

    return lambda maps: sum(len(package.ZstdCompressor(level=19).compress(packed(q))) for q in maps)


def deepcabac(folder: Path | None) -> Callable[[Maps], int] | None:
    """NNCodec's C++ extension, loaded alone: the package itself asks for an older numpy."""
    if folder is None:
        return None
    spec = importlib.util.spec_from_file_location("deepCABAC", next(folder.glob("**/deepCABAC*.so")))
    coder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(coder)
    off = (coder.HdspMode.AlwaysOff, np.zeros(2, np.int8), 0, 0)

    def best(q: np.ndarray) -> int:
        sizes = []
        for optimised, (profile, skip_rows) in itertools.product((0, 1), ((0, 0), (1, 0), (1, 1))):
            q = np.ascontiguousarray(q, np.int32)
            empty = np.array([profile and not row.any() for row in q], np.int32)
            encoder, decoder, back = coder.Encoder(), coder.Decoder(), np.zeros_like(q)
            encoder.initCtxModels(11, optimised)  # its default: ten unary flags and one
            encoder.encodeLayer(q, 0, 0, profile, 0, skip_rows, empty, *off)
            data = encoder.finish()
            decoder.setStream(data)
            decoder.initCtxModels(11)
            decoder.decodeLayer(back, 0, 0, profile, 0, *off)
            if np.array_equal(back, q):
                sizes.append(len(data))
        return min(sizes) + 1

    return lambda maps: sum(map(best, maps))


def drawn(shapes: Sequence[tuple[int, ...]]) -> Maps:
    """Laplacian integers of four bits, 83 % zeros."""
    draw, maps = np.random.default_rng(0), []
    for shape in shapes:
        values = np.rint(draw.laplace(0, 2, shape)).clip(-7, 7).astype(np.int32)
        values[draw.random(shape) < 0.8] = 0
        maps.append(values)
    return maps


if __name__ == "__main__":
    main()
