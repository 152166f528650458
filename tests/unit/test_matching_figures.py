"""Precision and recall of the matching on the recorded data; `python -m tests.bench.matching` prints the whole."""

from __future__ import annotations

import pytest

from tests.bench.matching import DATA, PRECISION, RECALL, Measured, measured

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded films and exports are not at {DATA}")


@pytest.fixture(scope="module")
def figures() -> dict[str, Measured]:
    return {one.name: one for one in measured()}


@pytest.mark.parametrize("name", ["table", "exports"])
def test_precision_and_recall(figures: dict[str, Measured], name: str) -> None:
    one = figures[name]
    assert sum(bool(found.case.expected) for found in one.counted) > 300
    assert one.precision >= PRECISION, "\n".join(one.lines())
    assert one.recall >= RECALL, "\n".join(one.lines())


@pytest.mark.parametrize("name", ["table", "exports"])
def test_requests(figures: dict[str, Measured], name: str) -> None:
    one = figures[name]
    assert one.requests_per_film < 2.1
    assert max(found.requests for found in one.found) <= 5
    assert all(found.requests <= 4 for found in one.found if found.accepted is None)


def test_what_is_on_television_is_no_film(figures: dict[str, Measured]) -> None:
    television = [found for found in figures["table"].counted if not found.case.expected]
    assert len(television) == 38
    assert [found.case.name for found in television if found.accepted is not None] == []


def test_the_ids_known_to_be_wrong_are_not_taken(figures: dict[str, Measured]) -> None:
    suspect = {found.case.name: found.accepted for found in figures["table"].found if found.case.apart == "suspect id"}
    assert suspect.keys() == {"The Lion King", "Belle"}
    assert suspect["The Lion King"] != 8587
    assert suspect["Belle"] != 205601


@pytest.mark.parametrize("name", ["table", "exports"])
def test_a_film_that_is_missing_is_seldom_taken_for_another(figures: dict[str, Measured], name: str) -> None:
    one = figures[name]
    assert len(one.mistaken) / len(one.without) < 0.01, "\n".join(one.lines())
