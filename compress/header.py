"""The header: what a file's network is for, and a table of its tensors; JSON, deflated from a dictionary of what headers say.

The table lists *kinds*, the different [codec, decoder, weight bits, {decoder float: count}] that occur; and of each tensor its
name, shape, the number of its kind, and the bytes of its section where the codec does not fix them. Where channels have left
the network, *sets* are bitmaps of what is there, and every tensor has the number of its set of rows and of columns, 0 for all.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.codecs import CODECS
from compress.symbols import CHANNELWISE, DECODERS

__all__ = ["ArtifactError", "Row", "pack", "unpack"]

Bools = NDArray[np.bool_]
_HEX = re.compile("[0-9a-f]*")
_LIMIT = 1 << 26  # bytes of JSON; a network of 100,000 tensors needs less
_BOUND = 1 << 63  # of every count
_COLUMNS = ("kinds", "names", "shapes", "kind", "lengths")
_CUTS = ("sets", "rows", "columns")  # there where channels have left

# Part of the format: what is often in a header, the likeliest last. To change one byte of it is to change the version.
_COMMON = (
    b'"classes":["T-shirt/top","Trouser","Pullover","Dress","Coat","Sandal","Shirt","Sneaker","Bag","Ankle boot"]'
    b'"name":"vit_tiny","patch_embed.proj.weight","blocks.0.norm1.weight","blocks.0.attn.qkv.weight","blocks.0.attn.proj.bias",'
    b'"blocks.0.mlp.fc1.weight","blocks.0.mlp.fc2.bias","norm.weight","head.weight","cls_token","pos_embed","input_shape":[3,224,224],'
    b'"name":"vgg16","features.0.weight","features.3.bias","classifier.weight","name":"lenet300","name":"lenet5","maps":64,"name":"resnet56",'
    b'"downsample.0.weight","downsample.1.bias","layer4.1.conv2.weight","fc.weight","fc.bias","running_mean","running_var",'
    b'"original_weights":269722,"method":"baseline","method":"uniform","method":"epr","method":"swd","method":"slimming","method":"filters",'
    b'"method":"codebook","method":"deadzone","zeros","ones","lzma","float32","raw",32.0,{}],["int8"[256,256,3,3],[512,512,3,3],[128,128,3,3],'
    b'"data":"fashion_mnist","data":"cifar100","data":"digits","split":"holdout-300","fingerprint":"digits-holdout-300-",'
    b'"mean":[0.2860],"std":[0.3530]"mean":[0.4914,0.4822,0.4465],"std":[0.247,0.2435,0.2616]"input_shape":[1,16,16],'
    b'"network":{"name":"mlp","kwargs":{"hidden":[300,100]}},"input_shape":[1,28,28],"classes":["0","1","2","3","4","5","6","7","8","9"],'
    b'"normalisation":{"mean":[0.1307],"std":[0.3081]},"data":"mnist","split":"holdout-10000","fingerprint":"mnist-holdout-10000-'
    b'"names":["fc1.weight","fc1.bias","fc2.weight","fc2.bias","fc3.weight","fc3.bias"],"shapes":[[300,784],[300],[100,300],[100],[10,100],[10]],'
    b'"data":"cifar10","split":"holdout-5000","fingerprint":"cifar10-holdout-5000-'
    b'{"network":{"name":"resnet20","kwargs":{}},"input_shape":[3,32,32],"classes":["airplane","automobile","bird","cat","deer","dog","frog",'
    b'"horse","ship","truck"],"normalisation":{"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]},"data":"cifar10","split":"test-halves-5000",'
    b'"fingerprint":"cifar10-test-halves-5000-","method":"deadzone","original_weights":269722,"tensors":{"kinds":[["context","uniform",8.0,{"step":1}],'
    b'["context","deadzone",4.0,{"step":1,"shift":1}],["float16","raw",32.0,{}],["zeros","raw",32.0,{}],["ones","raw",32.0,{}]],"names":["conv1.weight",'
    b'"bn1.weight","bn1.bias","bn1.running_mean","bn1.running_var","layer1.0.conv1.weight","layer1.0.bn1.weight","layer1.0.bn1.bias",'
    b'"layer1.0.bn1.running_mean","layer1.0.bn1.running_var","layer1.0.conv2.weight","layer1.0.bn2.weight","layer1.0.bn2.bias",'
    b'"layer1.0.bn2.running_mean","layer1.0.bn2.running_var","layer1.1.conv1.weight","layer1.1.bn1.weight","layer1.1.bn1.bias",'
    b'"layer1.1.bn1.running_mean","layer1.1.bn1.running_var","layer2.0.conv1.weight","layer3.2.conv2.weight","linear.weight","linear.bias"],'
    b'"shapes":[[10,64],[10],[16],[16],[16],[16],[16,16,3,3],[32],[32],[32],[32],[32,32,3,3],[64],[64],[64],[64],[64,64,3,3],[64],[64],[64],[64]],'
    b'"kind":[0,1,1,2,3,0,1,1,2,3,0,1,1,2,3,0,1,1,2,3],"lengths":['
)


class ArtifactError(ValueError):
    """A file that is no artifact, is damaged, or does not fit the network it is loaded into."""


@dataclass(frozen=True)
class Row:
    """One tensor of the table, of the dense network's ``shape``; ``length`` bytes of section, decoder floats included."""

    name: str
    shape: tuple[int, ...]
    codec: str
    decoder: str
    bits: float
    floats: Mapping[str, int]
    length: int
    rows: Bools | None = None
    columns: Bools | None = None

    @property
    def elements(self) -> int:
        """Numbers in the dense tensor."""
        return math.prod(self.shape)

    @property
    def held(self) -> tuple[int, ...]:
        """Shape of what the section holds."""
        return _held(self.shape, self.rows, self.columns)

    def count(self, name: str) -> int:
        """How many floats of this name the section holds: one a channel, of those that are there."""
        return _count(self.floats[name], self.decoder, self.shape, self.rows)

    def kind(self) -> list[Any]:
        """What tensors have in common."""
        return [self.codec, self.decoder, self.bits, dict(self.floats)]

    def told(self) -> bool:
        """Whether the file must tell the section's length."""
        return CODECS[self.codec].width is None


def pack(card: Mapping[str, Any], rows: Sequence[Row]) -> bytes:
    """The header's bytes; ``card`` is plain JSON data without the key ``tensors``."""
    kinds: list[list[Any]] = []
    for row in rows:
        if row.kind() not in kinds:
            kinds.append(row.kind())
    table = {
        "kinds": kinds,
        "names": [row.name for row in rows],
        "shapes": [list(row.shape) for row in rows],
        "kind": [kinds.index(row.kind()) for row in rows],
        "lengths": [row.length for row in rows if row.told()],
        **_sets(rows),
    }
    text = json.dumps({**card, "tensors": table}, separators=(",", ":")).encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_COMMON)
    return packer.compress(text) + packer.flush()


def _sets(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The columns of the table that say what has left; none where nothing has."""
    sets: list[str] = []

    def number(part: Bools | None) -> int:
        if part is None:
            return 0
        text = np.packbits(part).tobytes().hex()
        if text not in sets:
            sets.append(text)
        return sets.index(text) + 1

    numbers = {"rows": [number(row.rows) for row in rows], "columns": [number(row.columns) for row in rows]}
    return {"sets": sets, **numbers} if sets else {}


def unpack(data: bytes) -> tuple[dict[str, Any], list[Row]]:
    """(card, rows); ArtifactError for whatever :func:`pack` does not write."""
    try:
        unpacker = zlib.decompressobj(-15, zdict=_COMMON)
        text = unpacker.decompress(data, _LIMIT)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("the stream does not end where it should")
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ArtifactError(f"header: not deflated JSON ({error})") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"header: a JSON {type(header).__name__}, expected an object")
    rows = _rows(header.pop("tensors", None))
    if len({row.name for row in rows}) < len(rows):
        raise ArtifactError("header: two tensors of one name")
    return header, rows


def _rows(table: Any) -> list[Row]:
    if (
        not isinstance(table, dict)
        or set(table) not in (set(_COLUMNS), {*_COLUMNS, *_CUTS})
        or not all(isinstance(column, list) for column in table.values())
    ):
        raise ArtifactError(f"header: tensors must be a table of {', '.join(_COLUMNS)}")
    kinds = [_kind(kind) for kind in table["kinds"]]
    names, shapes, numbers, lengths = table["names"], table["shapes"], table["kind"], iter(table["lengths"])
    if not len(names) == len(shapes) == len(numbers):
        raise ArtifactError(f"header: {len(names)} names, {len(shapes)} shapes, {len(numbers)} kinds of tensors")
    cuts = [table.get(c, [0] * len(names)) for c in _CUTS[1:]]
    if any(len(column) != len(names) for column in cuts):
        raise ArtifactError(f"header: {len(names)} names, other numbers of rows and columns")
    rows = []
    for name, shape, number, *cut in zip(names, shapes, numbers, *cuts, strict=True):
        if not isinstance(name, str) or not _counts(shape) or len(shape) > 32:
            raise ArtifactError(f"section {str(name)[:40]!r}: expected a name and a shape of at most 32 whole numbers")
        if not _counts([number]) or number >= len(kinds):
            raise ArtifactError(f"section {name[:40]!r}: kind {str(number)[:20]!r}, expected one below {len(kinds)}")
        parts = [_part(name, shape, axis, n, table.get("sets", [])) for axis, n in enumerate(cut)]
        rows.append(_row(name, tuple(shape), kinds[number], lengths, parts))
    if next(lengths, None) is not None:
        raise ArtifactError("header: more lengths than sections")
    return rows


def _kind(kind: Any) -> tuple[str, str, float, dict[str, int]]:
    if not isinstance(kind, list) or len(kind) != 4:
        raise ArtifactError("header: a kind has four columns: codec, decoder, bits, floats")
    codec, decoder, bits, floats = kind
    if not (isinstance(codec, str) and codec in CODECS and isinstance(decoder, str) and decoder in DECODERS):
        raise ArtifactError(f"header: unknown codec {str(codec)[:20]!r} or decoder {str(decoder)[:20]!r}")
    if type(bits) not in (int, float) or not 0 <= bits <= 64:
        raise ArtifactError(f"header: weight bits {str(bits)[:20]!r}, expected a number from 0 to 64")
    if not isinstance(floats, dict) or not _counts([*floats.values()]):
        raise ArtifactError("header: decoder floats must be whole numbers from 0 by name")
    return codec, decoder, float(bits), floats


def _part(name: str, shape: Sequence[int], axis: int, number: Any, sets: Sequence[Any]) -> Bools | None:
    """The bitmap of one axis."""
    if number == 0 and type(number) is int:
        return None
    if not _counts([number]) or number > len(sets) or axis >= len(shape):
        raise ArtifactError(f"section {name[:40]!r}: no set {str(number)[:20]!r} for axis {axis}")
    text, size = sets[number - 1], shape[axis]
    if not isinstance(text, str) or len(text) != 2 * (-(-size // 8)) or not _HEX.fullmatch(text):
        raise ArtifactError(f"section {name[:40]!r}: a set of axis {axis} must be {size} bits")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    if bits[size:].any():
        raise ArtifactError(f"section {name[:40]!r}: a set of axis {axis} must be {size} bits and zeros")
    return bits[:size].astype(bool)


def _row(
    name: str,
    shape: tuple[int, ...],
    kind: tuple[str, str, float, dict[str, int]],
    lengths: Any,
    parts: Sequence[Bools | None],
) -> Row:
    codec, decoder, bits, floats = kind
    width = CODECS[codec].width
    length: Any = 0
    if width is None:
        length = next(lengths, None)
    else:
        counts = [_count(n, decoder, shape, parts[0]) for n in floats.values()]
        length = 4 * sum(counts) + width * math.prod(_held(shape, *parts))
    if not _counts([length]):
        raise ArtifactError(f"section {name[:40]!r}: its length must be a whole number from 0")
    return Row(name, shape, codec, decoder, bits, floats, length, *parts)


def _held(shape: Sequence[int], rows: Bools | None, columns: Bools | None) -> tuple[int, ...]:
    sizes = [int(p.sum()) if p is not None else n for p, n in zip((rows, columns), shape, strict=False)]
    return (*sizes, *shape[len(sizes) :])


def _count(count: int, decoder: str, shape: Sequence[int], rows: Bools | None) -> int:
    return int(rows.sum()) if rows is not None and decoder in CHANNELWISE and count == shape[0] > 1 else count


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < _BOUND for n in values)
