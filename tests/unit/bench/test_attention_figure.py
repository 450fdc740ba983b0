import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from attention_figure import crossing, curves_of, draw

DENSE = {512: 1.0, 1024: 4.0, 2048: 16.0}


def test_lines_become_curves_by_unit_and_kind() -> None:
    points = [{"point": "gqa-512-ms", "value": 1.0}, {"point": "lsh-512-MiB", "value": 2.0}]
    assert curves_of(points) == {"ms": {"gqa": {512: 1.0}}, "MiB": {"lsh": {512: 2.0}}}


def test_curves_cross_between_the_lengths_that_were_measured() -> None:
    assert crossing({512: 2.0, 1024: 4.0, 2048: 8.0}, DENSE) == pytest.approx(1024)
    assert crossing({512: 2.0, 1024: 8.0, 2048: 8.0}, DENSE) == pytest.approx(1024 * 2**0.5)


@pytest.mark.parametrize(
    "curve", [{512: 2.0, 1024: 8.0, 2048: 32.0}, {512: 0.5, 1024: 2.0, 2048: 8.0}], ids=["above", "below"]
)
def test_curves_that_do_not_cross_have_no_such_length(curve: dict[int, float]) -> None:
    assert crossing(curve, DENSE) is None


def test_one_that_is_dearer_again_at_the_end_has_none() -> None:
    assert crossing({512: 0.5, 1024: 2.0, 2048: 20.0}, DENSE) is None


def test_the_figure_names_each_kind_and_marks_where_it_becomes_cheaper() -> None:
    lsh = {512: 4.0, 1024: 8.0, 2048: 8.0}
    texts = [
        element.text
        for element in ElementTree.fromstring(draw({"ms": {"gqa": DENSE, "lsh": lsh}})).iter()
        if element.tag.endswith("text")
    ]
    assert {"gqa", "lsh", "512", "2048", "10"} <= set(texts)
    assert "lsh cheaper from 1448" in texts
