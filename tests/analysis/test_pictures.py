from __future__ import annotations

import pytest
from PIL import Image

from analysis.pictures import draw_pictures
from tests.analysis.recorded import record_of


@pytest.mark.slow
def test_every_figure_is_a_picture_that_opens(tmp_path):
    records = [record_of("a", ("deadzone", "epr")), record_of("../b c", gops=True), record_of("few", count=3)]
    names = [path.name for path in draw_pictures(records, tmp_path)]
    assert names == [
        "front.png",
        "hypervolume.png",
        "knobs-a-deadzone.png",
        "knobs-a-epr.png",
        "knobs-b_c-deadzone.png",
        "knobs-few-deadzone.png",
        "importance-a.png",
        "importance-b_c.png",
    ]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            assert picture.width >= 900
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
