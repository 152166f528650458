"""Which lines of an earlier run's results say that their row ended."""

from __future__ import annotations

import pytest

from shared.pipelines import PIPELINES
from shared.pipelines.base import Told
from shared.resuming import has_ended

TOLD = Told(key="k", answer={"any": "thing"})


@pytest.mark.parametrize(
    ("slug", "code"),
    [("artists", "dry_run"), ("assets", "dry_run"), ("assets", "row_only"), ("assets", "not_in_mode"),
     ("movies", "watchlist_only"), ("movies", "unresolved")],
)  # fmt: skip
def test_a_row_for_which_nothing_was_looked_for_still_has_to_run(slug: str, code: str) -> None:
    for outcome in ("enriched", "skipped", "needs_review"):
        assert not has_ended({"outcome": outcome, "code": code}, TOLD, PIPELINES[slug])
        assert has_ended({"outcome": outcome, "code": "other"}, TOLD, PIPELINES[slug])


def test_codes_are_those_of_the_line_s_own_pipeline() -> None:
    assert has_ended({"outcome": "skipped", "code": "row_only"}, TOLD, PIPELINES["movies"])
