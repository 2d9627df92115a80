import sys

import pytest

from tasks.torchvision_import import import_timm, import_torchvision


def test_torchvision_and_timm_can_be_imported_and_used(timm):
    torchvision = import_torchvision()
    assert torchvision.__name__ == "torchvision"
    assert import_torchvision() is torchvision
    assert import_timm() is timm
    assert "vit_tiny_patch16_224" in timm.list_models("vit_tiny*")


@pytest.fixture
def no_torchvision(monkeypatch):
    """As if it had not been imported yet; what was is put back."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("no_torchvision")
def test_another_mistake_of_its_import_is_not_hidden(write_module):
    write_module("torchvision", "raise RuntimeError('something else')")
    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision()


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("absent", ["torchvision", "timm"])
def test_what_is_not_installed_is_an_import_error(monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ImportError, match=absent):
        import_timm()
