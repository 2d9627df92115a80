"""The model that MLflow makes of the code beside a file; ``test_index`` has it out of MLflow itself."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis.studies import open_study
from compress.artifact import ArtifactError, decode, read

pytestmark = pytest.mark.slow

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own, of its type hints
    from analysis.served import CompressedNetwork


def served(file):
    model = CompressedNetwork()
    model.load_context(SimpleNamespace(artifacts={"network": str(file)}))
    return model


def test_a_network_of_the_user_s_takes_plain_pictures(own):
    """Three channels, each with its own normalisation."""
    from own_lines import network

    point = open_study(str(own), own.parent)[0]
    artifact = decode(read(point.file))
    plain = network((3, 8, 8), 4).eval()
    plain.load_state_dict(artifact.dense_state_dict(), strict=False)
    pictures = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)
    table = served(point.file).predict(None, pictures)
    with torch.inference_mode():
        expected = plain((torch.from_numpy(pictures) - 0.5) / 0.3).numpy()
    assert list(table.columns) == list("abcd")
    assert np.allclose(table.to_numpy(), expected, atol=1e-4)


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "x.rf").write_bytes(b"RFNT")
    with pytest.raises(ArtifactError):
        served(tmp_path / "x.rf")
