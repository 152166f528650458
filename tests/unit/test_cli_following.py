"""`rowlift results --follow`: every line once, whole lines only, whatever happens to process, API and disk."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cli import followed, following
from cli.client import Api
from cli.faults import Failed, Interrupted, Unreachable, WrongUsage
from cli.followed import Mark
from cli.following import Follower
from cli.line_sets import LineSet
from cli.terminal import Terminal
from tests.conftest import ROOT
from tests.fake_api import LOCAL, SESSION, problem
from tests.fake_results import FakeResults, line, small_disk


class Clock:
    """A clock that sleeping moves; each sleep also lets something happen, if there is anything left to happen."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self.now, self._happens = 0.0, list(happens)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self._happens:
            self._happens.pop(0)()
        assert self.now < 1_000, "it waits for ever"


def follow(results: FakeResults, output: Path, *happens: Callable[[], object], clock: Clock | None = None) -> Any:
    """The answer of following a session while one thing after the other happens."""
    clock = clock or Clock(*happens)
    api = Api(LOCAL, transport=httpx.MockTransport(results))
    return Follower(api, Terminal(as_json=True), clock=clock, sleep=clock.sleep).follow(SESSION, output)


def mark(output: Path) -> Mark:
    """What stands beside a file."""
    return Mark(**json.loads(output.with_name(f"{output.name}.follow").read_bytes()))


def left(output: Path) -> list[str]:
    """The names of all files beside it."""
    return sorted(path.name for path in output.parent.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


@pytest.fixture
def results() -> FakeResults:
    return FakeResults()


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LINES", 3)


def test_lines_come_as_they_settle_and_end_as_the_results(results: FakeResults, out: Path) -> None:
    seen: list[bytes] = []

    def more(*items: int) -> Callable[[], None]:
        return lambda: (seen.append(out.read_bytes()), results.settle(*items))[0]

    results.settle(4, 2)
    answer = follow(results, out, more(1, 9, 3, 8, 7), more(), more(5, 6), results.end)
    assert seen[1] == b"".join(line(item) for item in (4, 2, 1, 9, 3, 8, 7))
    assert sorted(out.read_bytes().splitlines(True)) == results.lines.splitlines(True)
    assert out.read_bytes() != results.lines  # in the order in which they came
    assert (answer["status"], answer["lines"], answer["bytes"]) == ("completed", 9, len(results.lines))
    assert (answer["output"], answer["differed"]) == (str(out), 0)
    assert left(out) == ["r.jsonl"]


def test_lines_that_were_superseded_are_replaced_at_the_end(results: FakeResults, out: Path) -> None:
    results.settle(1, 2, 3)
    answer = follow(results, out, lambda: results.settle(2, text="better"), results.end)
    assert out.read_bytes() == results.lines
    assert (answer["differed"], answer["lines"]) == (1, 3)
    assert left(out) == ["r.jsonl"]


def test_a_line_that_never_came_is_not_missed(results: FakeResults, out: Path) -> None:
    """A transaction that is open for ever holds lines back; the final results have them."""
    results.settle(1, 2, 3)
    results.end()
    whole = results.lines
    results.settled.pop()
    results.before = lambda after: httpx.Response(200, content=whole) if after == "0" else None
    assert follow(results, out)["differed"] == 1
    assert out.read_bytes() == whole


def test_a_session_that_is_opened_again_is_followed_on(results: FakeResults, out: Path) -> None:
    results.settle(1, 2)
    results.end()

    def reopened(after: str) -> httpx.Response | None:
        if after == "0" and len(results.settled) == 2:
            results.settle(1, text="again")
            results.final = False
        return None

    results.before = reopened
    answer = follow(results, out, results.end)
    assert out.read_bytes() == results.lines
    assert b"again" in results.lines
    assert answer["lines"] == 2


def test_lines_that_settle_during_the_check_are_not_lost(results: FakeResults, out: Path) -> None:
    """Reprocessed and ended anew between the check and the end."""
    results.settle(1, 2)
    results.end()
    stale = results.lines

    def replaced(after: str) -> httpx.Response | None:
        if after == "0" and len(results.settled) == 2:
            results.settle(2, text="again")
            return httpx.Response(200, content=stale)
        return None

    results.before = replaced
    follow(results, out)
    assert out.read_bytes() == results.lines


def test_following_again_goes_on_where_it_was(results: FakeResults, out: Path) -> None:
    results.settle(1, 2, 3, 4)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="4 whole lines"):
        follow(results, out, stop)
    assert mark(out).cursor == "s4"
    assert mark(out).bytes == out.stat().st_size == len(b"".join(line(item) for item in (1, 2, 3, 4)))
    results.settle(5)
    results.end()
    results.asked.clear()
    assert follow(results, out)["lines"] == 5
    assert results.asked[0] == "s4"
    assert out.read_bytes() == results.lines


@pytest.mark.parametrize("rest", [b'{"item_no":', b"", b"\0" * 40, line(9) + line(10)])
def test_what_the_last_writer_could_not_vouch_for_is_cut_off(results: FakeResults, out: Path, rest: bytes) -> None:
    results.settle(1, 2)
    good = results.lines
    out.write_bytes(good + rest)
    beside = {"session": str(SESSION), "cursor": "s2", "bytes": len(good), "lines": 2, "pid": 1}
    out.with_name("r.jsonl.follow").write_text(json.dumps(beside))
    out.with_name("r.jsonl.follow.tmp").write_text("torn")
    out.with_name("r.jsonl.follow.new").write_text("torn")
    results.settle(3)
    results.end()
    assert follow(results, out)["differed"] == 0
    assert out.read_bytes() == results.lines
    assert left(out) == ["r.jsonl"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_kill_while_the_final_lines_take_their_place_costs_nothing(
    results: FakeResults, out: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    results.settle(1, 2)
    results.settle(1, text="better and longer than before")
    results.end()

    class Killed(BaseException):
        pass

    def killed(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            if replaced:
                os.replace(self, target)
            raise Killed
        os.replace(self, target)
        return target

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(followed.Followed, "close", lambda self: self._file.close())  # nothing is done on the way out
        with pytest.raises(Killed):
            follow(results, out)
    assert mark(out).bytes is None
    assert follow(results, out)["lines"] == 2
    assert out.read_bytes() == results.lines


def test_readers_see_whole_lines_only_and_every_write_ends_with_one(
    results: FakeResults, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "BLOCK", 64)  # shorter than two lines, longer than none
    results.settle(*range(1, 8))
    results.settle(20, size=500)
    real, looked = followed.write, 0

    def write(file: Any, data: bytes, output: Path | None) -> None:
        nonlocal looked
        real(file, data, output)
        assert out.read_bytes().endswith(b"\n")
        looked += 1

    monkeypatch.setattr(followed, "write", write)
    follow(results, out, results.end)
    assert looked > 5
    assert sorted(out.read_bytes().splitlines()) == sorted(results.lines.splitlines())


def test_the_disk_is_waited_for_once_a_second_at_most(
    results: FakeResults, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[float] = []
    clock = Clock(*[lambda item=item: results.settle(item) for item in range(200)], results.end)
    real = followed.Followed.sync

    def sync(self: followed.Followed, **how: bool) -> None:
        synced.append(clock.now)
        real(self, **how)

    monkeypatch.setattr(followed.Followed, "sync", sync)
    follow(results, out, clock=clock)
    assert clock.now == pytest.approx(200 * 0.25, abs=1)
    assert 0.9 * clock.now < len(synced) < 1.1 * clock.now + 3


def test_an_answer_that_is_cut_is_asked_for_again(results: FakeResults, out: Path, capfd: Any) -> None:
    results.settle(1, 2, 3)
    cuts = [
        httpx.Response(200, content=cut(), headers={"Rowlift-Next": "s3", "Rowlift-Final": "false"}) for cut in CUTS
    ]
    results.before = lambda after: cuts.pop() if cuts and after.startswith("s") else None
    sizes: list[int] = []

    def look() -> None:
        sizes.append(out.stat().st_size)

    follow(results, out, look, look, results.end)
    assert sizes == [0, 0]  # nothing of an answer that is not whole
    assert out.read_bytes() == results.lines
    said = capfd.readouterr().err
    assert said.count("Still trying") == 1
    assert said.count("Reached again") == 1


def _broken() -> Iterator[bytes]:
    yield line(1)
    raise httpx.ReadError("cut")


CUTS: list[Callable[[], Any]] = [_broken, lambda: line(1) + line(2)[:9]]


def test_an_api_that_is_away_is_waited_for_ever_longer(results: FakeResults, out: Path) -> None:
    results.settle(1)
    clock = Clock(*[lambda: None] * 9, results.end)
    away: list[float] = []

    def answer(after: str) -> httpx.Response | None:
        if len(away) < 9:
            away.append(clock.now)
            raise httpx.ConnectError("refused")
        return None

    results.before = answer
    follow(results, out, clock=clock)
    waits = [after - before for before, after in pairwise(away)]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30]
    assert out.read_bytes() == results.lines


def test_at_first_an_api_that_is_away_ends_it(out: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable):
        follow(refuse, out)  # type: ignore[arg-type]
    assert not out.exists()


def test_a_session_nobody_knows_leaves_no_file(out: Path) -> None:
    with pytest.raises(WrongUsage, match="no such"):
        follow(lambda request: problem(404, "There is no such session."), out)  # type: ignore[arg-type]
    assert not out.exists()


def test_a_session_that_comes_to_wait_for_a_person_is_told_once(results: FakeResults, out: Path, capfd: Any) -> None:
    def become(status: str) -> Callable[[], None]:
        return lambda: setattr(results, "status", status)

    idle = [lambda: None] * 45
    follow(
        results, out, *idle, become("paused"), *idle, become("enriching"), *idle, become("quoted"), *idle, results.end
    )
    said = capfd.readouterr().err
    assert (said.count("is paused: lunch"), said.count("waits for approval")) == (1, 1)
    assert "rowlift resume" in said


# Other files


def test_a_file_that_something_else_wrote_stays_as_it_is(results: FakeResults, out: Path) -> None:
    results.settle(1)
    out.write_bytes(b"mine\n")
    for ended in (False, True):
        results.final = ended
        with pytest.raises(WrongUsage, match=r"did not write it.*Name another file"):
            follow(results, out)
    assert (out.read_bytes(), left(out)) == (b"mine\n", ["r.jsonl"])


def test_a_file_that_is_done_is_recognised(results: FakeResults, out: Path) -> None:
    """Whoever starts the command again for good measure is not refused."""
    results.settle(2, 1)
    results.end()
    first = follow(results, out)
    before = out.stat()
    assert follow(results, out) == first
    assert out.stat().st_mtime_ns == before.st_mtime_ns
    assert left(out) == ["r.jsonl"]


def test_a_file_of_another_session_is_refused(results: FakeResults, out: Path) -> None:
    beside = {"session": str(uuid4()), "cursor": "s0", "bytes": 0, "lines": 0, "pid": 1}
    out.with_name("r.jsonl.follow").write_text(json.dumps(beside))
    with pytest.raises(WrongUsage, match=f"follows session {beside['session']}"):
        follow(results, out)


@pytest.mark.parametrize("beside", ["{}", "torn", '{"session": 1}'])
def test_a_mark_that_is_none_is_refused(results: FakeResults, out: Path, beside: str) -> None:
    out.with_name("r.jsonl.follow").write_text(beside)
    with pytest.raises(WrongUsage, match="Remove it"):
        follow(results, out)


def test_a_file_that_was_shortened_is_refused(results: FakeResults, out: Path) -> None:
    out.write_bytes(b"x\n")
    beside = {"session": str(SESSION), "cursor": "s1", "bytes": 30, "lines": 1, "pid": 1}
    out.with_name("r.jsonl.follow").write_text(json.dumps(beside))
    with pytest.raises(WrongUsage, match=r"shorter than --follow left it.*r\.jsonl\.follow"):
        follow(results, out)
    assert out.read_bytes() == b"x\n"


def test_what_is_no_file_or_has_no_folder_is_refused(results: FakeResults, tmp_path: Path) -> None:
    for output in (tmp_path, Path("/dev/null"), tmp_path / "no" / "where.jsonl"):
        with pytest.raises(WrongUsage):
            follow(results, output)


def test_a_link_is_followed_to_its_file(results: FakeResults, out: Path) -> None:
    link = out.with_name("link.jsonl")
    link.symlink_to(out)
    results.settle(2)
    results.settle(2, text="again")
    results.end()
    follow(results, link)
    assert link.is_symlink()
    assert out.read_bytes() == results.lines


def test_a_second_writer_is_kept_out_and_told_who_writes(results: FakeResults, out: Path) -> None:
    results.settle(1)
    refusals: list[str] = []

    def second() -> None:
        with pytest.raises(WrongUsage) as refused:
            follow(results, out)
        refusals.append(str(refused.value))

    follow(results, out, second, results.end)
    assert refusals == [f"Process {os.getpid()} follows into {out}; leave it to that one, or name another file."]
    assert out.read_bytes() == results.lines


def test_the_lock_holds_while_the_final_lines_take_their_place(results: FakeResults, out: Path) -> None:
    results.settle(1)
    results.settle(1, text="again")
    results.end()
    held: list[bool] = []

    def look(after: str) -> None:
        if after != "s2" or out.read_bytes() != results.lines:
            return
        with out.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held.append(False)
            except BlockingIOError:
                held.append(True)

    results.before = look
    follow(results, out)
    assert held
    assert all(held)


# Kill


@pytest.mark.slow
def test_killed_again_and_again_it_has_every_line_once(results: FakeResults, out: Path) -> None:
    """Real processes and SIGKILL at random moments; a reader never sees a line torn by anything but a kill."""
    with results.served() as address:
        words = [sys.executable, "-m", "cli.main", "results", str(SESSION), "--follow", "--output", str(out)]
        item, rng = 0, random.Random(7)

        def settle_until(condition: Callable[[], bool]) -> None:
            nonlocal item
            deadline = time.monotonic() + 30
            while not condition():
                item += 1
                results.settle(item, size=rng.choice((0, 200, 3_000)))
                time.sleep(0.002)
                assert time.monotonic() < deadline

        for _ in range(5):
            asked = len(results.asked)
            process = subprocess.Popen([*words, "--api", address], cwd=ROOT, stderr=subprocess.DEVNULL)
            settle_until(lambda asked=asked: len(results.asked) > asked)  # type: ignore[misc]
            moment = time.monotonic() + 0.1 + 0.5 * rng.random()
            settle_until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            process.kill()
            assert process.wait(10) == -signal.SIGKILL
        written = out.stat().st_size
        results.end()
        done = subprocess.run([*words, "--api", address, "--json"], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["differed"], answer["lines"]) == (
        0,
        item,
    )  # 0: no line was there twice, or missing, before the check
    assert out.read_bytes() == results.lines
    assert 0 < written <= len(results.lines)
    assert left(out) == ["r.jsonl"]


# Full disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not small_disk(str(folder), "256k"):
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_whole_lines_and_following_goes_on_once_there_is_room(
    results: FakeResults, disk: Path
) -> None:
    out, other = disk / "r.jsonl", disk / "other"
    other.write_bytes(b"\0" * 150_000)
    results.settle(*range(1, 60), size=2_000)
    with pytest.raises(Failed, match=r"No space left on device.*whole lines.*Free some space") as full:
        follow(results, out)
    assert full.value.status == 1
    whole = out.read_bytes()
    assert len(whole) > 40_000
    assert whole == results.lines[: len(whole)]
    assert whole.endswith(b"\n")
    other.unlink()
    results.end()
    answer = follow(results, out)
    assert (answer["lines"], answer["differed"]) == (59, 0)
    assert out.read_bytes() == results.lines


def test_a_disk_too_full_for_the_final_lines_keeps_the_others(results: FakeResults, disk: Path) -> None:
    out = disk / "r.jsonl"
    results.settle(*range(1, 61), size=2_500)
    results.settle(1, text="again")
    results.end()
    with pytest.raises(Failed, match="whole lines"):
        follow(results, out)
    assert out.read_bytes() == b"".join(found for _, found in results.settled)
    assert left(out) == ["r.jsonl", "r.jsonl.follow"]


def test_a_limit_on_file_sizes_is_told_the_same_way(results: FakeResults, out: Path) -> None:
    results.settle(*range(1, 60), size=2_000)
    with results.served() as address:
        limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
        words = ["results", str(SESSION), "--follow", "--output", str(out), "--api", address]
        program = f"{limit}; from cli.main import main; sys.exit(main({words!r}))"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert out.read_bytes() == results.lines[: out.stat().st_size]
    assert out.read_bytes().count(b"\n") >= 20


# Sets of lines


def test_sets_of_lines_are_equal_in_any_order_and_told_apart() -> None:
    lines = [line(item) for item in range(500)]
    mixed = random.Random(1).sample(lines, len(lines))
    assert LineSet().add(lines).add([b"".join(mixed)], -1).left == 0
    assert LineSet().add(lines).add(lines[3:], -1).left == 3
    assert LineSet().add(lines[7:]).add(lines, -1).left == 7
    assert LineSet().add([*lines, lines[0]]).add(lines, -1).left == 1  # one twice
    changed = [b"other\n", *lines[1:]]
    assert LineSet().add(changed).add(lines, -1).left == 1


def test_lines_are_cut_from_pieces_wherever_those_end() -> None:
    whole = b"".join(line(item) for item in range(20))
    for size in (1, 7, 64, 10_000):
        cut = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert LineSet().add(cut).add([whole], -1).left == 0
