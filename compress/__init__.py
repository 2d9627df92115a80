"""Compression in pure PyTorch and numpy: methods, symbols, codecs, the file. Needs nothing of Ray, Optuna or MLflow."""

from compress.artifact import Artifact, ArtifactError, decompress, load
from compress.inference import for_inference
from compress.method import KnobError, MainKnob, Method
from compress.metrics import Metrics
from compress.shipping import Shipped, ship
from compress.symbols import Symbols

__all__ = [
    "Artifact",
    "ArtifactError",
    "KnobError",
    "MainKnob",
    "Method",
    "Metrics",
    "Shipped",
    "Symbols",
    "decompress",
    "for_inference",
    "load",
    "ship",
]
