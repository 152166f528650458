"""The options of a session: as metadata spells them, every one checked, faults named with their choices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.options import Approve, OnMissing, Options, WriteMode


def refusal(**metadata: str) -> str:
    with pytest.raises(InputError) as caught:
        Options.parse({name.replace("_", "-"): value for name, value in metadata.items()})
    assert caught.value.code == "input.option"
    return str(caught.value)


def test_nothing_said_is_the_default() -> None:
    found = Options.parse({})
    assert found == Options()
    assert (found.write_mode, found.approve, found.on_missing) == (WriteMode.BOTH, Approve.AUTO, OnMissing.CREATE)
    assert (found.skip_existing, found.dry_run, found.budget, found.max_failed) == (False, False, None, "50%")


def test_every_option_is_read_from_metadata() -> None:
    found = Options.parse({
        "write-mode": "file", "skip-existing": "true", "dry-run": "1", "approve": "ask", "budget": "2.50",
        "on-missing": "error", "max-failed": "5%", "watchlist": "yes", "reuse": "never", "call-mode": "background",
        "session": "6F1D1C62-2A0C-5C55-9C1B-0F5E6F1F8A11", "mode": "text", "dual-write": "true",
        "resume": "resume/1f3a/x.jsonl",
    })  # fmt: skip
    assert found.model_dump(mode="json") == {
        "write_mode": "file", "skip_existing": True, "dry_run": True, "approve": "ask", "budget": 2_500_000,
        "on_missing": "error", "max_failed": "5%", "watchlist": True, "reuse": "never",
        "call_mode": "background", "session": "6f1d1c62-2a0c-5c55-9c1b-0f5e6f1f8a11",
        "mode": "text", "dual_write": True,
        "resume": "resume/1f3a/x.jsonl",
    }  # fmt: skip


def test_case_blanks_and_underscores_in_names_do_not_matter() -> None:
    assert Options.parse({" Write_Mode ": "db"}).write_mode is WriteMode.DB


def test_what_other_tools_put_on_objects_is_no_option() -> None:
    assert (
        Options.parse({"goog-reserved-file-mtime": "1", "firebaseStorageDownloadTokens": "x", "mtime": "1"})
        == Options()
    )


def test_stored_options_are_read_again_as_they_were() -> None:
    found = Options.parse({"budget": "0.000001", "max-failed": "20", "write-mode": "db"})
    assert Options.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(("name", "value", "choice"), [
    ("write-mode", "disk", "both"), ("approve", "maybe", "ask"), ("on-missing", "ignore", "create"),
    ("skip-existing", "perhaps", "skip-existing"), ("session", "mine", "session"), ("max-failed", "few", "5%"),
])  # fmt: skip
def test_a_bad_value_is_named_with_the_choices(name: str, value: str, choice: str) -> None:
    found = refusal(**{name: value})
    assert f"{name!r} is {value!r}" in found
    assert choice in found


def test_an_unknown_option_is_named_with_those_there_are() -> None:
    found = refusal(write_moed="db")
    assert "'write-moed'" in found
    assert "write-mode" in found


def test_every_fault_is_told_at_once() -> None:
    found = refusal(write_mode="disk", budget="lots", colour="red")
    assert all(name in found for name in ("write-mode", "budget", "colour"))


def test_a_long_value_is_not_repeated_whole() -> None:
    assert len(refusal(write_mode="x" * 10_000)) < 300


class TestBudget:
    @pytest.mark.parametrize(("text", "micros"), [
        ("0", 0), ("1", 1_000_000), ("$2.50", 2_500_000), (" 0.000001 ", 1), ("0.1", 100_000), ("1e3", 1_000_000_000),
    ])  # fmt: skip
    def test_is_dollars_as_people_write_them_in_whole_micros(self, text: str, micros: int) -> None:
        assert Options.parse({"budget": text}).budget == micros

    @given(micros=st.integers(0, 10**15))
    def test_is_exact(self, micros: int) -> None:
        text = f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
        assert Options.parse({"budget": text}).budget == micros

    @pytest.mark.parametrize("text", ["", "-1", "lots", "nan", "inf", "1e10", "2,50", "-0.01"])
    def test_anything_else_is_refused(self, text: str) -> None:
        assert "dollars" in refusal(budget=text)


class TestTolerance:
    @pytest.mark.parametrize(("limit", "failed", "total", "too_many"), [
        ("50%", 5, 10, False), ("50%", 6, 10, True), ("0%", 1, 1_000_000, True), ("0%", 0, 0, False),
        ("100%", 10, 10, False), ("0", 1, 10, True), ("3", 3, 10, False), ("3", 4, 1_000, True),
        (" 5% ", 5, 100, False), ("33%", 1, 3, True),
    ])  # fmt: skip
    def test_is_a_count_or_a_share(self, limit: str, failed: int, total: int, too_many: bool) -> None:
        assert Options.parse({"max-failed": limit}).too_many_failed(failed, total) is too_many

    @pytest.mark.parametrize("text", ["", "%", "101%", "-1", "5.5%", "²", "٥", "5 %"])
    def test_anything_else_is_refused(self, text: str) -> None:
        assert "max-failed" in refusal(max_failed=text)


@pytest.mark.parametrize(("mode", "dry", "writes"), [
    ("db", "false", True), ("both", "false", True), ("file", "false", False), ("db", "true", False),
])  # fmt: skip
def test_the_domain_is_written_in_db_and_both_unless_dry(mode: str, dry: str, writes: bool) -> None:
    assert Options.parse({"write-mode": mode, "dry-run": dry}).writes_domain is writes
