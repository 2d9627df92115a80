"""What MLflow keeps beside a registered network: this file, as code, makes a model of the compressed file. Nothing is pickled.

Input: pictures (N, C, H, W), float32 in [0, 1], not normalised (of data that are no pictures: as the data set has them). Output:
a table of N rows, a column a class by its name, the logits in them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from compress.artifact import decode, load, read
from tasks.networks import build_network

__all__ = ["CompressedNetwork"]


class CompressedNetwork(PythonModel):
    """The network of the file ``network`` among the model's artifacts, on the CPU."""

    def load_context(self, context: PythonModelContext) -> None:
        """Decode it. ArtifactError for a damaged file, TaskError where a factory of the user's cannot be imported."""
        path = context.artifacts["network"]
        card = decode(read(path)).card
        self.classes = [str(name) for name in card["classes"]]
        self.mean, self.std = (
            np.reshape(np.asarray(card["normalisation"][key], np.float32), (-1, *[1] * (len(card["input_shape"]) - 1)))
            for key in ("mean", "std")
        )
        with torch.random.fork_rng(devices=[]):
            self.network = load(
                path,
                lambda card: build_network(
                    card["network"]["name"],
                    tuple(card["input_shape"]),
                    len(card["classes"]),
                    dict(card["network"].get("kwargs") or {}),
                ),
            )

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """Logits, a column a class."""
        batch = torch.from_numpy((np.asarray(model_input, np.float32) - self.mean) / self.std)
        with torch.inference_mode():
            logits = self.network(batch)
        return pd.DataFrame(logits.numpy(), columns=self.classes)


set_model(CompressedNetwork())
