"""Which migrations run before new code and which after, from what each says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.faults import Failed, WrongUsage
from cli.migrating import newest_revision
from infra.deploy.migrations import Revision, When, pending, revisions

BEFORE, AFTER = When.BEFORE, When.AFTER


def chain(*marks: When) -> list[Revision]:
    return [
        Revision(id=f"{n:04}", follows=f"{n - 1:04}" if n > 1 else None, when=when) for n, when in enumerate(marks, 1)
    ]


def ids(found: tuple[Revision, ...]) -> list[str]:
    return [one.id for one in found]


def test_ours_all_say_when_they_are_safe() -> None:
    found = revisions()
    assert found[0].follows is None
    assert found[-1].id == newest_revision()
    assert [one.follows for one in found[1:]] == [one.id for one in found[:-1]]


@pytest.mark.parametrize(
    ("marks", "current", "before", "after"),
    [
        ((BEFORE, BEFORE), None, ["0001", "0002"], []),
        ((BEFORE, BEFORE), "0001", ["0002"], []),
        ((BEFORE, BEFORE), "0002", [], []),
        ((BEFORE, AFTER), "0001", [], ["0002"]),
        ((BEFORE, BEFORE, AFTER, AFTER), "0001", ["0002"], ["0003", "0004"]),
        ((BEFORE, AFTER, BEFORE), "0002", ["0003"], []),  # what is behind us no longer counts
    ],
)
def test_what_a_database_lacks_is_cut_at_the_first_that_is_safe_only_after(
    marks: tuple[When, ...], current: str | None, before: list[str], after: list[str]
) -> None:
    found = pending(chain(*marks), current)
    assert (ids(found.before), ids(found.after)) == (before, after)


def test_no_order_is_safe_where_one_before_follows_one_after() -> None:
    with pytest.raises(Failed, match=r"0003 has to run before this code, and 0002.*Deploy the code of 0002 first"):
        pending(chain(BEFORE, AFTER, BEFORE), "0001")


def test_a_database_newer_than_the_code_is_left_alone() -> None:
    with pytest.raises(Failed, match="revision 0009, which this code does not know"):
        pending(chain(BEFORE), "0009")


def written(folder: Path, number: str, follows: str | None, words: str) -> None:
    (folder / f"{number}_x.py").write_text(
        f'"""{words}"""\nrevision = "{number}"\ndown_revision = {follows!r}\n', "utf-8"
    )


def test_one_that_does_not_say_is_named(tmp_path: Path) -> None:
    written(tmp_path, "0001", None, "A table.")
    with pytest.raises(WrongUsage, match=r"0001_x\.py does not say when it is safe"):
        revisions(tmp_path)


def test_one_that_follows_nothing_is_named(tmp_path: Path) -> None:
    written(tmp_path, "0001", None, "A. Safe before the code that uses it.")
    written(tmp_path, "0003", "0002", "B. Safe after the code that needs it no more.")
    with pytest.raises(WrongUsage, match="follow none of the others: 0003"):
        revisions(tmp_path)
