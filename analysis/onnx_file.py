"""A decoded network as ONNX: PyTorch writes it, ONNX Runtime runs it, and both must give the same answers.

Input is a batch (N, ...) of any size, normalised as the file's card says; ``mean``, ``std`` and ``classes`` are in the model's metadata.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.rebuild import dense_network, rebuild
from analysis.studies import BadStudy, Point
from compress.artifact import Artifact, load_into
from compress.codebooks import codebooks_of
from compress.halves import DeviceHalf

__all__ = ["OnnxFile", "Wishes", "converted", "onnx_file"]

_NEEDED = ("onnx", "onnxruntime", "onnxscript")
_LEAST_OPSET = 13
_COUNT = 64  # inputs that are compared
_TOLERANCE = 1e-4  # of the largest output, and of 1


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """``opset`` None: PyTorch's own; ``input_shape`` None: the file's; ``data_root``: where real inputs lie, None: drawn ones."""

    opset: int | None = None
    input_shape: tuple[int, ...] | None = None
    data_root: Path | None = None


@dataclass(frozen=True)
class OnnxFile:
    """The bytes, and in words what was compared."""

    data: bytes
    about: str


def onnx_file(point: Point, artifact: Artifact, wishes: Wishes) -> OnnxFile:
    """The network of ``artifact``, a file of the point's study; BadStudy where it cannot be exported or answers otherwise."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadStudy(f"format = 'onnx': needs {', '.join(missing)}: pip install 'ratefront[onnx]'")
    network = load_into(dense_network(point.folder, artifact.card), artifact).requires_grad_(False)
    shape = wishes.input_shape or tuple(artifact.card["input_shape"])
    inputs, kind = _inputs(point, artifact, shape, wishes)
    made = converted(network, inputs, artifact.card, wishes.opset)
    return OnnxFile(made.data, f"{made.about} on {len(inputs)} {kind}")


def converted(network: nn.Module, inputs: Tensor, card: Mapping[str, Any], opset: int | None) -> OnnxFile:
    """A network in evaluation mode, compared on ``inputs`` (n, ...), all at once and the first alone; BadStudy as above."""
    shape = tuple(inputs.shape[1:])
    _check_channel(network)
    try:
        with torch.inference_mode():
            expected = [network(batch) for batch in (inputs, inputs[:1])]
    except Exception as error:  # whatever a network says of a shape that it was not made for
        raise BadStudy(f"input shape = {_times(shape)}: the network does not run on it ({_line(error)})") from error
    with _hushed():
        data, made = _exported(network, inputs[:2], opset, card)
        found = _run(data, [inputs, inputs[:1]])
    apart = max(_apart(*pair) for pair in zip(found, expected, strict=True))
    return OnnxFile(data, f"opset {made}, input (N, {', '.join(map(str, shape))}), at most {apart:.1e} from PyTorch")


def _check_channel(network: nn.Module) -> None:
    """The noise of evaluation is a hash of whole numbers, for which ONNX has no shifts."""
    if isinstance(network, DeviceHalf):
        raise BadStudy("format = 'onnx': the half of a device cannot be exported; the whole network can")
    for layer in codebooks_of(network):
        if layer.active and layer.live > 1 and layer.link.modulation != "none":
            link = f"{layer.link.modulation}, {layer.link.PSNR:g} dB"
            raise BadStudy(f"format = 'onnx': its codebook sends over a noisy channel ({link}), which is a simulation")


def _inputs(point: Point, artifact: Artifact, shape: tuple[int, ...], wishes: Wishes) -> tuple[Tensor, str]:
    """(n, *shape) validation images as the network wants them, else drawn ones, and what they are."""
    if wishes.data_root is not None and shape == tuple(artifact.card["input_shape"]):
        try:
            part = rebuild(point.folder, wishes.data_root).part("validation", artifact, torch.device("cpu"))
            return part.normalise(part.images[:_COUNT]).contiguous(), "validation images"
        except BadStudy:  # the data are not on this machine
            pass
    return torch.randn(_COUNT, *shape, generator=torch.Generator().manual_seed(0)), "drawn inputs"


def _exported(network: nn.Module, example: Tensor, opset: int | None, card: Mapping[str, Any]) -> tuple[bytes, int]:
    """The model's bytes and the opset that it is in."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not _LEAST_OPSET <= opset <= newest:
        raise BadStudy(f"opset = {opset}: must be a whole number from {_LEAST_OPSET} to {newest}")
    try:
        with torch.no_grad():
            program: Any = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        model = program.model_proto
        about = {name: card.get(name) for name in ("network", "method", "data", "split", "normalisation", "classes")}
        onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in about.items()})
        onnx.checker.check_model(model)
    except Exception as error:  # whatever exporter and checker raise
        raise BadStudy(f"format = 'onnx': this network cannot be exported ({_line(error)})") from error
    made = next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset is not None and made != opset:
        raise BadStudy(f"opset = {opset}: this network can be written in {made}, not in it")
    return model.SerializeToString(), made


def _run(data: bytes, batches: list[Tensor]) -> list[np.ndarray[Any, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return [np.asarray(session.run(None, {"input": batch.numpy()})[0]) for batch in batches]
    except Exception as error:  # of its own kinds
        raise BadStudy(f"format = 'onnx': ONNX Runtime does not run it ({_line(error)})") from error


def _apart(found: np.ndarray[Any, Any], expected: Tensor) -> float:
    """The largest difference; BadStudy where it is no rounding, or another class is largest."""
    wanted = expected.numpy()
    if found.shape != wanted.shape:
        raise BadStudy(f"format = 'onnx': ONNX Runtime gives {found.shape}, PyTorch {wanted.shape}")
    apart = float(np.abs(found.astype(np.float64) - wanted).max())
    allowed = _TOLERANCE * max(1.0, float(np.abs(wanted).max())) if wanted.dtype.kind == "f" else 0.0
    first = np.take_along_axis(wanted, found.argmax(-1)[..., None], -1)[..., 0]
    others = int((wanted.max(-1) - first > 2 * allowed).sum())  # of nearly equal ones either may come first
    if not apart <= allowed or others:
        told = (
            f"{apart:.3g} apart, at most {allowed:.3g} is rounding; another class for {others} of {len(found)} inputs"
        )
        raise BadStudy(f"format = 'onnx': ONNX Runtime and PyTorch answer otherwise ({told}); no file is written")
    return apart


@contextmanager
def _hushed() -> Iterator[None]:
    """What exporter and converter tell of themselves; errors come as exceptions."""
    held = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(held)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
