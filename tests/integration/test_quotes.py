"""Quotes: what a session would cost is told before anything is asked, is true, and decides whether it goes on."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from shared.prompts import load
from shared.upstreams.base import TextAnswer, Usage
from shared.upstreams.prices import price_of
from tests.fakes import answer
from tests.movies import drop_files, movies_bench, ratings, watched
from tests.workbench import Workbench, artist_id, artists_csv

HEADER = b"artist_id,artist_name,artist_data\n"
WORST_OUTPUT, OVERHEAD = 1_200, 32


def row(i: int, name: str, data: str = "") -> bytes:
    return f"{artist_id(i)},{name},{data}\n".encode()


def quoted(
    bench: Workbench, data: bytes, name: str = "artists/list.csv", **options: str
) -> tuple[UUID, dict[str, Any]]:
    """A session that waits for approval, and its quote."""
    session = bench.drop(data, name, approve="ask", **options)
    status = bench.run(session)
    assert status["status"] == "quoted"
    return session, status["quote"]


def manifest(bench: Workbench, session: UUID) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.store.text("out", f"{session}/manifest.json"))
    return found


def with_limits(bench: Workbench, **changes: Any) -> Workbench:
    return Workbench(db=bench.db, url=bench.url, changes=changes)


def test_the_figures_of_a_quote_are_those_worked_out_by_hand(bench: Workbench) -> None:
    names = ["Nina Simone", "Мумий Тролль", "<b>AC/DC</b>", 'Guns "N" Roses']
    rows = b"".join(row(i, f'"{name.replace(chr(34), chr(34) * 2)}"') for i, name in enumerate(names, 1))
    data = HEADER + rows + row(1, "Again") + b"no id,Nobody,\n"
    session, quote = quoted(bench, data, budget="0.002")
    prompt, price = load("artist-bio/1"), price_of("gpt-6-luna")
    sizes = [len(prompt.render(artist_name=name, artist_data="").text.encode()) for name in names]
    high = [Usage(input_tokens=size + OVERHEAD, output_tokens=WORST_OUTPUT, cache_write_tokens=size + OVERHEAD)
            for size in sizes]  # fmt: skip
    likely = [Usage(input_tokens=size // 4 + OVERHEAD // 2, output_tokens=300) for size in sizes]
    low = [Usage(input_tokens=size // 5, output_tokens=60) for size in sizes]
    for name, usages in (("low", low), ("likely", likely), ("high", high)):
        assert quote["tokens_in"][name] == sum(usage.input_tokens for usage in usages)
        assert quote["tokens_out"][name] == sum(usage.output_tokens for usage in usages)
        assert quote["usd"][name] == sum(price.cost(usage) for usage in usages) / 1_000_000
    assert {name: quote[name] for name in ("rows", "rejected", "duplicates", "to_run", "reusable", "free")} == {
        "rows": 6, "rejected": 1, "duplicates": 1, "to_run": 4, "reusable": 0, "free": 0,
    }  # fmt: skip
    assert quote["requests"] == {"low": 4, "likely": 4, "high": 4}
    assert (quote["model"], quote["prompt"], quote["prices_read_on"]) == ("gpt-6-luna", "artist-bio/1", "2026-11-20")
    assert (quote["budget_usd"], quote["budget_holds_likely"], quote["budget_holds_high"]) == (0.002, True, False)
    assert bench.upstream.requests == []
    assert bench.calls(session) == []


def test_high_is_what_admission_reserves(bench: Workbench) -> None:
    """The quote adds up sizes in SQL, admission measures each prompt: both have to come to the same."""
    del bench.pipeline.__dict__["_openai"]
    names = ["Nina", "Björk <3", "坂本龍一", 'a \\ "b"\tc', "x" * 300]
    lines = b"".join(
        row(i, f'"{name.replace(chr(34), chr(34) * 2)}"', "type: Person") for i, name in enumerate(names, 1)
    )
    _, quote = quoted(bench, HEADER + lines)
    prompt = load("artist-bio/1")
    worst = [bench.pipeline.estimate(prompt.render(artist_name=name, artist_data="type: Person")) for name in names]
    assert quote["usd"]["high"] == sum(one.micros for one in worst) / 1_000_000
    assert quote["tokens_in"]["high"] + quote["tokens_out"]["high"] == sum(one.tokens for one in worst)


def test_an_approved_session_spends_between_low_and_high(bench: Workbench) -> None:
    def real(n: int, request: Any) -> TextAnswer:
        usage = Usage(input_tokens=len(request.text) // 4 + 8, output_tokens=180 + n % 5 * 40)
        return TextAnswer(text="A bio.", created=answer("x").created, usage=usage, model="gpt-6-luna-2026-10-01")

    bench.upstream._script = real
    session, quote = quoted(bench, artists_csv(40))
    bench.sessions.approve(session)
    ended = bench.run(session)
    assert (ended["status"], ended["enriched"]) == ("completed", 40)
    usd = quote["usd"]
    assert usd["low"] <= ended["spent_usd"] <= usd["high"]
    assert usd["likely"] / 2 <= ended["spent_usd"] <= usd["likely"] * 2
    assert ended["quote"] == quote == manifest(bench, session)["quote"]
    bench.assert_sound(session)
    _, again = quoted(bench, artists_csv(10, first=41), "artists/next.csv")
    assert again["tokens_out"]["likely"] == 10 * 260  # the mean of what was heard
    assert again["tokens_out"]["low"] == 10 * 180
    assert again["basis"].startswith("40 earlier answers")


def test_answers_that_are_reused_cost_nothing(bench: Workbench) -> None:
    assert bench.run(bench.drop(artists_csv(6)))["enriched"] == 6
    data = artists_csv(8).replace(b"Fela Kuti 1", b"Fela Kuti changed")
    session, quote = quoted(bench, data, "artists/next.csv")
    assert (quote["to_run"], quote["reusable"]) == (3, 5)
    bench.sessions.approve(session)
    ended = bench.run(session)
    assert (ended["unchanged"], ended["enriched"]) == (5, 3)
    assert ended["spent_usd"] <= quote["usd"]["high"]
    _, never = quoted(bench, artists_csv(8), "artists/third.csv", reuse="never")
    assert (never["to_run"], never["reusable"]) == (8, 0)


def test_rows_the_options_settle_are_free(bench: Workbench) -> None:
    bench.execute(
        f"INSERT INTO artists (id, name, bio) VALUES ('{artist_id(1)}', 'A', 'Mine.'), ('{artist_id(2)}', 'B', NULL)"
    )
    _, quote = quoted(bench, artists_csv(3), skip_existing="true")
    assert (quote["to_run"], quote["free"]) == (2, 1)
    _, strict = quoted(bench, artists_csv(3), "artists/b.csv", on_missing="error")
    assert (strict["to_run"], strict["free"]) == (2, 1)
    _, file = quoted(bench, artists_csv(3), "artists/c.csv", skip_existing="true", write_mode="file")
    assert (file["to_run"], file["free"]) == (3, 0)


@pytest.mark.parametrize(("limits", "bound_by", "seconds"), [
    ({"requests": 6, "period": 60.0}, "requests", 100 * 60 / (0.97 * 6) + 4),
    ({"requests": 10_000, "tokens": 600, "period": 60.0}, "tokens", None),
    ({"requests": None}, "concurrency", 100 * 4 / 8 + 4),
])  # fmt: skip
def test_a_quote_says_how_long_it_takes_and_what_binds(
    bench: Workbench, limits: dict[str, Any], bound_by: str, seconds: float | None
) -> None:
    from shared.config import UpstreamLimits

    made = Workbench(
        db=bench.db, url=bench.url, limits={"openai": UpstreamLimits(**limits)},
        pipeline_changes={"instances": 2, "threads": 4, "items_per_message": 1},
    )  # fmt: skip
    _, quote = quoted(made, artists_csv(100))
    assert quote["bound_by"] == bound_by
    if seconds is None:
        tokens = quote["tokens_in"]["likely"] + quote["tokens_out"]["likely"]
        seconds = tokens * 60 / (0.97 * 600) + 4
    assert quote["duration_seconds"] == pytest.approx(seconds, abs=0.1)


def test_what_the_upstream_says_of_its_limits_counts(bench: Workbench) -> None:
    from shared.config import UpstreamLimits

    made = Workbench(db=bench.db, url=bench.url, limits={"openai": UpstreamLimits(requests=10_000)})
    bench.execute("INSERT INTO upstreams (name, requests_said, tokens_said) VALUES ('openai', 50, 40000)")
    _, quote = quoted(made, artists_csv(3))
    assert (quote["limits"]["requests"], quote["limits"]["tokens"]) == (50, 40_000)


def test_without_any_limit_the_upstream_decides(bench: Workbench) -> None:
    _, quote = quoted(bench, artists_csv(3))
    assert (quote["bound_by"], quote["duration_seconds"]) == ("upstream", None)


def test_rescue_alone_leads_to_the_quote(bench: Workbench) -> None:
    session = bench.drop(artists_csv(3), approve="ask")
    bench.publisher.messages.clear()
    bench.pass_time(61)
    bench.execute("UPDATE sessions SET finalize_asked_at = now() - interval '2 minutes'")
    found = bench.rescuer.round()
    assert found.open_sessions == 1  # what has no quote does not wait for a person yet
    assert bench.deliver() == 1
    facts = bench.facts(session)
    assert (facts["status"], facts["quote"]["to_run"], facts["quoted_epoch"]) == ("quoted", 3, facts["epoch"])
    assert bench.rescuer.round().open_sessions == 0
    assert bench.publisher.messages == []


def test_whoever_sees_quoted_finds_the_quote(bench: Workbench) -> None:
    session = bench.drop(artists_csv(3), approve="ask")
    bench.publisher.messages.clear()
    status = bench.sessions.status(session)
    assert (status["status"], status["quote"]["to_run"]) == ("quoted", 3)


def test_a_second_file_has_the_session_quoted_anew(bench: Workbench) -> None:
    session, first = quoted(bench, artists_csv(3), session=artist_id(77))
    assert bench.drop(artists_csv(2, first=4), "artists/b.csv", session=artist_id(77)) == session
    second = bench.run(session)
    assert (second["status"], second["quote"]["rows"], second["quote"]["to_run"]) == ("quoted", 5, 5)
    assert second["quote"]["usd"]["high"] > first["usd"]["high"]
    assert bench.calls(session) == []


def test_approving_while_files_are_read_counts(bench: Workbench) -> None:
    session = bench.drop(artists_csv(3), approve="ask", session=artist_id(77))
    bench.execute("UPDATE sessions SET files_open = 1, files_known = 2")
    assert bench.sessions.status(session)["status"] == "processing"
    bench.sessions.approve(session)
    bench.execute("UPDATE sessions SET files_open = 0, files_known = 1")
    assert bench.run(session)["status"] == "completed"


def test_approval_ends_with_what_it_was_given_for(bench: Workbench) -> None:
    """A file that joins while the session runs goes along; one that joins it later is asked about again."""
    session, _ = quoted(bench, artists_csv(3), session=artist_id(77))
    bench.sessions.approve(session)
    bench.drop(artists_csv(1, first=4), "artists/b.csv", session=artist_id(77))
    ended = bench.run(session)
    assert (ended["status"], ended["enriched"]) == ("completed", 4)
    bench.drop(artists_csv(2, first=5), "artists/c.csv", session=artist_id(77))
    asked = bench.run(session)
    assert (asked["status"], asked["quote"]["to_run"], len(bench.upstream.requests)) == ("quoted", 2, 4)
    bench.sessions.approve(session)
    assert bench.run(session)["enriched"] == 6
    bench.assert_sound(session)


def test_cancelling_a_quoted_session_ends_it_at_once(bench: Workbench) -> None:
    session, _ = quoted(bench, artists_csv(3))
    bench.sessions.cancel(session)
    assert bench.deliver() == 1  # not held back by the notice that brought the quote
    assert bench.facts(session)["completed_at"] is not None
    assert manifest(bench, session)["counts"]["cancelled"] == 3


def test_the_end_is_not_held_back_by_the_notice_of_the_quote(bench: Workbench) -> None:
    session = bench.drop(artists_csv(2), approve="ask")
    bench.publisher.take("finalize")  # lost on its way, or late
    bench.sessions.approve(session)
    for _ in range(3):
        bench.deliver()
    assert bench.facts(session)["status"] == "completed"


def test_a_session_with_nothing_to_run_needs_no_approval(bench: Workbench) -> None:
    session = bench.drop(HEADER + b"no id,Nobody,\n", approve="ask")
    assert bench.run(session)["error_code"] == "input.nothing_valid"


class TestAboveAnAmount:
    def test_a_cheap_session_goes_on_by_itself(self, bench: Workbench) -> None:
        made = with_limits(bench, approve_above_usd=1.0)
        session = made.drop(artists_csv(4))
        assert made.facts(session)["status"] == "quoted"
        ended = made.run(session)
        assert (ended["status"], ended["enriched"]) == ("completed", 4)
        assert ended["quote"]["waits_because"] is None
        assert ended["quote"]["approve_above_usd"] == 1.0

    def test_a_dear_one_waits_and_says_why(self, bench: Workbench) -> None:
        made = with_limits(bench, approve_above_usd=0.001)
        session = made.drop(artists_csv(40))
        status = made.run(session)
        assert (status["status"], status["bound_by"]) == ("quoted", "approval")
        likely = f"${status['quote']['usd']['likely']:.6f}"
        why = f"The likely cost of {likely} is above APPROVE_ABOVE_USD, $0.001000; approve it, or cancel."
        assert status["pause_reason"] == why == made.sessions.newest()[0]["pause_reason"]
        assert made.calls(session) == []
        made.sessions.approve(session)
        ended = made.run(session)
        assert (ended["status"], ended["pause_reason"]) == ("completed", None)

    def test_looking_lets_a_cheap_one_go_on_too(self, bench: Workbench) -> None:
        made = with_limits(bench, approve_above_usd=1.0)
        session = made.drop(artists_csv(4))
        made.publisher.messages.clear()
        assert made.sessions.status(session)["status"] == "enriching"
        assert made.run(session)["status"] == "completed"

    def test_who_asks_to_be_asked_is_asked_for_the_cheapest(self, bench: Workbench) -> None:
        made = with_limits(bench, approve_above_usd=1.0)
        session = made.drop(artists_csv(1), approve="ask")
        assert made.run(session)["status"] == "quoted"

    def test_films_are_never_held_by_it(self, bench: Workbench) -> None:
        made = movies_bench(bench, changes={"approve_above_usd": 0.0})
        session = drop_files(made, {"watched.csv": watched(1, 2)})
        assert made.run(session)["status"] == "completed"

    def test_a_file_that_joins_while_it_is_quoted_is_quoted_with_it(self, bench: Workbench) -> None:
        made = with_limits(bench, approve_above_usd=1.0)
        session = made.drop(artists_csv(2), session=artist_id(77))
        facts = made.facts(session)
        made.drop(artists_csv(2, first=3), "artists/b.csv", session=artist_id(77))
        assert made.facts(session)["epoch"] > facts["epoch"]
        late = made.db.row("store_quote", session=session, epoch=facts["epoch"], quote={}, goes_on=True)
        assert late is None  # a quote of before lets nothing go on
        ended = made.run(session)
        assert (ended["quote"]["rows"], ended["enriched"]) == (4, 4)


def test_films_are_quoted_in_requests(bench: Workbench) -> None:
    made = movies_bench(bench)
    assert made.run(drop_files(made, {"watched.csv": watched(1, 2)}, export="first"))["status"] == "completed"
    session = drop_files(
        made, {"watched.csv": watched(2, 3, 4), "ratings.csv": ratings(3)}, export="mine", approve="ask"
    )
    quote = made.run(session)["quote"]
    assert (quote["rows"], quote["duplicates"], quote["to_run"]) == (4, 1, 3)
    assert quote["requests"] == {"low": 2, "likely": 4, "high": 15}
    assert quote["usd"] == {"low": 0.0, "likely": 0.0, "high": 0.0}
    before = len(made.upstream.requests)
    made.sessions.approve(session)
    assert made.run(session)["status"] == "completed"
    assert len(made.upstream.requests) - before == quote["requests"]["likely"]


class TestDryRun:
    def test_it_quotes_previews_and_touches_nothing(self, bench: Workbench) -> None:
        assert bench.run(bench.drop(artists_csv(2)))["enriched"] == 2
        asked, written = len(bench.upstream.requests), bench.value("SELECT count(*) FROM artists")
        made = with_limits(bench, approve_above_usd=0.0)
        session = made.drop(artists_csv(9), "artists/dry.csv", dry_run="true", approve="ask")
        status = made.run(session)
        assert (status["status"], status["skipped"]) == ("completed", 9)
        quote = status["quote"]
        assert (quote["to_run"], quote["reusable"]) == (7, 2)
        assert quote["usd"]["low"] > 0
        preview = quote["preview"]
        assert [each["item_no"] for each in preview["items"]] == [1, 2, 3, 4, 5]
        first = preview["items"][0]
        prompt = load("artist-bio/1").render(artist_name="Fela Kuti 1", artist_data="type: Person")
        assert first["request"] == {"model": "gpt-6-luna", "instructions": prompt.instructions, "input": prompt.input}
        assert first["effect"].startswith(
            f"INSERT INTO artists (id, name, bio, response_id, model, prompt) VALUES ('{artist_id(1)}'"
        )
        assert "ON CONFLICT (id) DO UPDATE SET bio = excluded.bio" in first["effect"]
        assert preview["pool"]["items_per_message"] == 8
        assert preview["pool"]["window"] == made.settings.window("artists")
        assert manifest(made, session)["quote"] == quote
        assert (len(bench.upstream.requests), made.upstream.requests) == (asked, [])
        assert bench.value("SELECT count(*) FROM artists") == written
        assert bench.calls(session) == []

    def test_a_second_one_says_the_same(self, bench: Workbench) -> None:
        first = bench.run(bench.drop(artists_csv(9), dry_run="true"))["quote"]
        again = bench.run(bench.drop(artists_csv(9), dry_run="true"))["quote"]
        assert again == first

    def test_finalizing_it_twice_gives_the_same_bytes(self, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3), dry_run="true")
        bench.run(session)
        before = bench.store.text("out", f"{session}/manifest.json")
        bench.run(bench.drop(artists_csv(30, first=50), "artists/other.csv"))  # there is history now
        bench.execute(f"UPDATE sessions SET completed_epoch = NULL WHERE id = '{session}'")
        bench.finalizer.finalize(session)
        assert bench.store.text("out", f"{session}/manifest.json") == before

    def test_nothing_would_be_written_in_mode_file(self, bench: Workbench) -> None:
        quote = bench.run(bench.drop(artists_csv(1), dry_run="true", write_mode="file"))["quote"]
        assert quote["preview"]["items"][0]["effect"] is None

    def test_films_show_their_search(self, bench: Workbench) -> None:
        made = movies_bench(bench)
        session = drop_files(made, {"watched.csv": watched(1)}, dry_run="true")
        quote = made.run(session)["quote"]
        (film,) = quote["preview"]["items"]
        assert film["request"]["search"] == "1/search/1951/Film 1"
        assert film["effect"].startswith('UPDATE movies SET "tmdb_enriched" = …')
        assert made.upstream.requests == []


class TestChanges:
    def test_the_manifest_tells_what_changed_since_the_last_time(self, bench: Workbench) -> None:
        first = bench.drop(artists_csv(6))
        bench.run(first)
        assert manifest(bench, first)["changes"] is None
        data = artists_csv(7, first=3).replace(b"Guns", b"Buns") + row(4, "Again") + b"no id,x,\n"
        second = bench.drop(data)
        bench.run(second)
        assert manifest(bench, second)["changes"] == {
            "compared_with": str(first), "added": 3, "changed": 1, "unchanged": 3, "gone": 2,
            "gone_keys": [artist_id(1), artist_id(2)],
        }  # fmt: skip

    def test_a_second_look_finds_the_same(self, bench: Workbench) -> None:
        late, _ = quoted(bench, artists_csv(2), "artists/late.csv")  # the oldest of them, and the last to be completed
        sessions = [bench.drop(artists_csv(3)), bench.drop(artists_csv(4))]
        for session in sessions:
            bench.run(session)
        assert manifest(bench, sessions[0])["changes"] is None
        assert manifest(bench, sessions[1])["changes"]["compared_with"] == str(sessions[0])
        before = [bench.store.text("out", f"{session}/manifest.json") for session in sessions]
        bench.sessions.approve(late)
        assert bench.run(late)["status"] == "completed"
        bench.execute("UPDATE sessions SET completed_epoch = NULL")
        for session in sessions:
            bench.finalizer.finalize(session)
        assert [bench.store.text("out", f"{session}/manifest.json") for session in sessions] == before

    def test_another_name_is_found_by_its_keys(self, bench: Workbench) -> None:
        ours = bench.drop(artists_csv(5), "artists/january.csv")
        bench.run(ours)
        bench.run(bench.drop(artists_csv(5, first=50), "artists/strangers.csv"))
        bench.run(bench.drop(artists_csv(5), "artists/dry.csv", dry_run="true"))
        second = bench.drop(artists_csv(5), "artists/february.csv")
        bench.run(second)
        changes = manifest(bench, second)["changes"]
        assert (changes["compared_with"], changes["unchanged"], changes["added"]) == (str(ours), 5, 0)

    def test_one_that_has_expired_is_compared_with_no_more(self, bench: Workbench) -> None:
        first = bench.drop(artists_csv(2))
        bench.run(first)
        bench.execute(f"UPDATE sessions SET expired_at = now() WHERE id = '{first}'")
        second = bench.drop(artists_csv(2))
        bench.run(second)
        assert manifest(bench, second)["changes"] is None

    def test_films_have_a_report_of_their_own(self, bench: Workbench) -> None:
        made = movies_bench(bench)
        session = drop_files(made, {"watched.csv": watched(1)})
        made.run(session)
        assert "changes" not in manifest(made, session)
