import http.server
import sys
import threading
from collections import OrderedDict
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from tasks import Arrays, Source
from tasks.data import split_source
from tasks.torchvision_import import import_timm, import_torchvision


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``; ``server.promised`` bytes are announced where that is set."""

    def do_GET(self):
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.promised or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A real server on this machine: ``files`` by path, ``url`` its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files) as running:
        running.files, running.promised = {}, None
        running.url = f"http://127.0.0.1:{running.server_port}/"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def closed_url(monkeypatch):
    """An address where nobody answers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), _Files) as closed:
        port = closed.server_port
    return f"http://127.0.0.1:{port}/"


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Put a module of the user's on the path."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(name, text):
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


@pytest.fixture(scope="session")
def timm():
    """Its own import_or_skip would not get past a torchvision that is built for another PyTorch."""
    if not find_spec("timm"):
        pytest.skip("timm is not installed")
    return import_timm()


@pytest.fixture(scope="session")
def torchvision():
    if not find_spec("torchvision"):
        pytest.skip("torchvision is not installed")
    return import_torchvision()


@pytest.fixture
def make_source():
    """Random pictures whose first pixel is their number in the part, so that they can be told apart."""

    def make(train=20, test=10, classes=2, shape=(3, 4, 4), **keywords):
        parts, random = {}, np.random.RandomState(5)
        for name, count in (("train", train), ("test", test)):
            images = random.randint(0, 256, (count, *shape), dtype=np.uint8)
            images[:, 0, 0, 0] = np.arange(count)
            images[:, 0, 0, 1] = 7 if name == "train" else 9
            parts[name] = Arrays(images, np.arange(count, dtype=np.int64) % classes)
        keywords = {"holdout": max(1, train // 5), **keywords}
        return Source(name="made", classes=[str(n) for n in range(classes)], **parts, **keywords)

    return make


@pytest.fixture
def make_data(make_source):
    def make(policy="holdout", **keywords):
        return split_source(make_source(**keywords), policy)

    return make


@pytest.fixture
def small_net():
    """For pictures (3, 4, 4) in 5 classes, with a batch norm that has seen data."""
    torch.manual_seed(0)
    layers = OrderedDict(
        conv=nn.Conv2d(3, 6, 3, padding=1), norm=nn.BatchNorm2d(6), flatten=nn.Flatten(), fc=nn.Linear(96, 5)
    )
    network = nn.Sequential(layers)
    network(torch.randn(32, 3, 4, 4))
    return network
