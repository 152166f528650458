"""rejects.csv: the names by which it finds back, and which cells of it are whose."""

from __future__ import annotations

from uuid import UUID

import pytest

from shared.errors import InputError
from shared.rejects import JOINED, LOST, SHORTENED, ends_as_rejects, file_name, own_cells, session_of_name, unmended

ID = UUID("2f1c3b9e-5a0d-5d57-9c1e-8f4f5a1b7c11")

OTHER = UUID("00000000-5a0d-5d57-9c1e-8f4f5a1b7c11")


class TestNames:
    @pytest.mark.parametrize("name", [
        f"artists/{file_name(ID)}", f"artists/rejects-{ID} (1).csv", f"artists/any/thing/{ID}-rejects.csv",
        f"artists/rejects-{ID} - Copy.csv", f"artists/rejects-{ID}-mended.csv",
        f"artists/REJECTS-{str(ID).upper()}.CSV",
        f"artists/2026/{ID}/rejects.csv", f"artists/{ID}/rejects (2).csv", f"artists/{ID}/rejects.utf8.txt",
        f"artists/{OTHER}/rejects-{ID}.csv", f"rejects-{ID}.csv",
    ])  # fmt: skip
    def test_name_the_session(self, name: str) -> None:
        assert session_of_name(name) == ID

    @pytest.mark.parametrize("name", [
        "artists/rejects.csv", f"artists/{ID}.csv", f"artists/{ID}/list.csv", f"artists/rejects-{ID}/list.csv",
        f"artists/rejects-{str(ID)[:-1]}.csv", f"artists/rejects-{ID}0.csv", f"artists/my-rejects-{ID}.csv",
        f"artists/rejects-{ID}.zip", f"artists/{ID}/results.jsonl", f"artists/{ID}/rejectsmore.csv", "",
    ])  # fmt: skip
    def test_of_other_files_name_none(self, name: str) -> None:
        assert session_of_name(name) is None


class TestCells:
    def test_the_last_three_are_ours(self) -> None:
        assert own_cells(["id", "Nina", "data", "why", "id", "7"], 3) == (["id", "Nina", "data"], "why")
        assert own_cells(["id", "Nina", "data", "", "", ""], 3) == (["id", "Nina", "data"], "")
        assert own_cells(["id", "Nina", "data", "", "id", "7", "", ""], 3) == (["id", "Nina", "data"], "")
        assert own_cells(["id", "Nina", "data"], 3) == (["id", "Nina", "data"], "")

    def test_a_row_of_the_users_own_file_loses_no_cell_to_them(self) -> None:
        for own in (["id", "Earth", "Wind", "data"], ["id", "a", "b", "c", "d", "e"], ["id", "a", "b", "c", "", ""]):
            kept, reason = own_cells(own, 3)
            assert [cell for cell in own if cell] == [cell for cell in kept if cell]
            assert not reason

    def test_a_cell_too_many_stays_the_users(self) -> None:
        assert own_cells(["id", "Earth", "Wind", "data", "why", "4", "9"], 3) == (
            ["id", "Earth", "Wind", "data"],
            "why",
        )

    def test_a_second_header_ends_the_reading(self) -> None:
        assert ends_as_rejects(["name", "Reason ", "COLUMN", "line"])
        assert not ends_as_rejects(["reason", "column", "line"])
        assert not ends_as_rejects(["name", "line", "column", "reason"])
        with pytest.raises(InputError, match="second header") as caught:
            own_cells(["name", "reason", "column", "line"], 3)
        assert caught.value.code == "input.second_header"


class TestMarks:
    @pytest.mark.parametrize(("mark", "cells", "code"), [
        (SHORTENED, ["id", "whatever"], "input.shortened"),
        (LOST, ["id", "M\ufffdtley"], "input.lost_letters"),
        (JOINED, ["id", "Earth", "Wind;data"], "input.joined_cells"),
    ])  # fmt: skip
    def test_a_row_that_is_no_more_than_it_was_shown_is_refused_again(
        self, mark: str, cells: list[str], code: str
    ) -> None:
        found = unmended(f" {mark} list.csv, line 3: it is wrong.", cells)
        assert found is not None
        assert (found.code, found.column) == (code, "reason")
        assert unmended("list.csv, line 3: it is wrong.", cells) is None
        assert unmended("", cells) is None

    def test_letters_and_cells_that_are_there_again_need_no_clearing(self) -> None:
        assert unmended(LOST, ["id", "Mötley"]) is None
        assert unmended(JOINED, ["id", "Earth, Wind", "data"]) is None
