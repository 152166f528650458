"""The dashboard as people use it: a real Chromium on a real stack, every upstream simulated."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from infra.local.topology import ROOT
from tests.browser.bucket import Bucket
from tests.browser.visitor import WAIT, Visitor, dropped
from tests.e2e.stacks import Deck
from tests.workbench import artist_id, artists_csv

DEMO = ROOT / "examples/letterboxd-demo"
HEAVIEST = 300_000  # bytes of the whole page
POLICY_FAILS = "policy fault"  # a name with this in it is refused for good by the simulated OpenAI
REFUSED = ["Failed to load resource"]  # what a browser says of any answer that is not a success
MARKUP = "<img src=x onerror=alert(1)>"


def artists_file(folder: Path, count: int, *, first: int, extra: str = "", name: str = "names.csv") -> Path:
    """A file of artists, more lines at its end."""
    path = folder / name
    path.write_bytes(artists_csv(count, first=first) + extra.encode())
    return path


def failing(first: int, count: int) -> str:
    """Lines of artists that fail for good, and one that is rejected."""
    lines = [f"{artist_id(first + i)},Nobody {i} {POLICY_FAILS},\r\n" for i in range(count)]
    return "".join(lines) + "not-an-id,Somebody,\r\n"


def export_zip(folder: Path, name: str) -> Path:
    """The demo export as Letterboxd packs it, its films at addresses of their own: decisions hold for all sessions."""
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(DEMO.rglob("*.csv")):
            lines = file.read_text("utf-8").replace("https://boxd.it/", f"https://boxd.it/{name}")
            archive.writestr(str(file.relative_to(DEMO)), lines)
    return path


@pytest.fixture(scope="module")
def artists(deck: Deck) -> UUID:
    """A session that has ended with rows of several outcomes."""
    deck.misbehave(named={POLICY_FAILS: "policy"})
    session = deck.drop(artists_csv(40, first=900_000) + failing(910_000, 3).encode(), "artists/seen.csv")
    assert deck.wait(session)["status"] == "completed"
    deck.misbehave(named={})
    return session


@pytest.fixture(scope="module")
def films(deck: Deck, tmp_path_factory: pytest.TempPathFactory) -> UUID:
    """A session of films, one of which needs a look."""
    path = export_zip(tmp_path_factory.mktemp("films"), "seen")
    session = deck.drop(path.read_bytes(), "movies/seen.zip")
    status = deck.wait(session)
    assert (status["status"], status["needs_review"]) == ("completed", 1)
    return session


def test_a_dropped_file_runs_to_its_end_and_its_downloads_are_the_apis(visitor: Visitor, tmp_path: Path) -> None:
    extra = f'{artist_id(1)},"{MARKUP}",\r\nno-id,Somebody,\r\n'
    visitor.opens()
    dropped(visitor.page, "#upload", [artists_file(tmp_path, 30, first=100, extra=extra)])
    expect(visitor.page.locator(".files")).to_contain_text("names.csv")
    expect(visitor.page.get_by_role("radio", name="Artists")).to_be_checked()
    session = visitor.uploads()
    visitor.sees_status("Completed")
    expect(visitor.page.locator("#progress .big")).to_have_text("100 %")
    expect(visitor.counts("Enriched")).to_have_text("31")
    expect(visitor.counts("Rejected")).to_have_text("1")
    expect(visitor.page.locator("#spoken")).to_contain_text("Session completed")
    assert visitor.page.title() == "Completed · names.csv · Rowlift"
    api = visitor.deck.api
    for link, path in (
        ("Results, JSON lines", "results?format=jsonl"),
        ("Results, CSV", "results?format=csv"),
        ("Rejected rows, CSV", "rejects"),
        ("Manifest", "manifest"),
    ):
        assert visitor.downloads(link) == api.get(f"/api/session/{session}/{path}").raise_for_status().content, link
    visitor.page.get_by_role("searchbox", name="Search rows").fill("onerror")
    row = visitor.sees_rows(1)
    expect(row).to_contain_text(MARKUP)  # what a file holds is text, whatever it looks like
    row.get_by_role("button").click()
    expect(visitor.page.get_by_role("dialog", name=MARKUP)).to_contain_text("[SIMULATED] This biography")
    assert visitor.page.locator("main img").count() == 0


def test_a_refused_upload_says_so_beside_the_field_and_a_quote_is_approved(visitor: Visitor, tmp_path: Path) -> None:
    visitor.expected += REFUSED
    visitor.opens()
    visitor.chooses(artists_file(tmp_path, 12, first=200))
    page = visitor.page
    page.get_by_label("Budget in dollars").fill("a lot")
    page.locator(".order button.primary").click()
    budget = page.get_by_label("Budget in dollars")
    expect(budget).to_have_attribute("aria-invalid", "true")
    expect(budget).to_be_focused()
    expect(page.locator("#option-budget-fault")).to_contain_text("give an amount of dollars")
    budget.fill("1.50")
    page.get_by_label("Approve").select_option("ask")
    session = visitor.uploads()
    visitor.sees_status("Quoted")
    expect(page.locator("#quote")).to_contain_text("$1.50, enough whatever happens")
    assert visitor.deck.status(session)["enriched"] == 0
    page.get_by_role("button", name=re.compile("^Approve for about")).click()
    visitor.sees_status("Completed")
    expect(visitor.counts("Enriched")).to_have_text("12")
    page.get_by_text("Files, options and history").click()
    expect(page.locator(".audit")).to_contain_text("Approve by")


def test_pause_holds_the_work_and_resume_goes_on(visitor: Visitor, tmp_path: Path) -> None:
    visitor.deck.misbehave(latency=0.5)
    visitor.opens()
    visitor.chooses(artists_file(tmp_path, 400, first=1_000))
    session = visitor.uploads()
    visitor.presses("Pause")
    visitor.sees_status("Paused")
    expect(visitor.page.locator(".stands")).to_contain_text("Resume it when you are ready")
    held = visitor.deck.wait(session, until=lambda status: not status["running"])
    assert held["open"] > 0
    expect(visitor.counts("Open")).to_have_text(str(held["open"]))
    visitor.deck.misbehave(latency=0)
    visitor.presses("Resume")
    visitor.sees_status("Completed")
    expect(visitor.counts("Enriched")).to_have_text("400")


def test_a_budget_that_is_spent_asks_for_more(visitor: Visitor, tmp_path: Path) -> None:
    visitor.opens()
    visitor.chooses(artists_file(tmp_path, 30, first=2_000))
    visitor.page.get_by_label("Budget in dollars").fill("0.0005")
    visitor.uploads()
    visitor.sees_status("Paused")
    expect(visitor.page.locator(".stands")).to_contain_text("Resume it with a higher budget")
    visitor.presses("Resume …")
    visitor.page.get_by_label("New budget in dollars").fill("1")
    visitor.checks("resume")
    visitor.presses("Resume")
    visitor.sees_status("Completed")
    expect(visitor.page.locator("#money")).to_contain_text("budget $1.00")


def test_what_failed_is_explained_filtered_and_reprocessed(visitor: Visitor, tmp_path: Path) -> None:
    visitor.deck.misbehave(named={POLICY_FAILS: "policy"})
    visitor.opens()
    visitor.chooses(artists_file(tmp_path, 20, first=3_000, extra=failing(3_100, 3)))
    session = visitor.uploads()
    visitor.sees_status("Completed")
    page = visitor.page
    groups = page.locator("#errors .groups li")
    expect(groups).to_have_count(2)
    expect(groups.first).to_contain_text("3 ×")
    [failed, _] = visitor.deck.api.get(f"/api/session/{session}/errors").json()["groups"]
    expect(groups.first).to_contain_text(failed["example"]["error_message"])
    groups.first.get_by_role("button").click()
    expect(page.get_by_role("button", name="Failed 3", exact=True).last).to_have_attribute("aria-pressed", "true")
    expect(visitor.sees_rows(3).first).to_contain_text("Nobody 0")
    visitor.deck.misbehave(named={})
    visitor.presses("Reprocess …")
    dialog = page.get_by_role("dialog", name="Reprocess rows")
    expect(dialog.get_by_role("checkbox", name="Failed")).to_be_checked()
    expect(dialog).to_contain_text("asked, and where it costs money paid for, anew")
    visitor.checks("reprocess")
    visitor.presses("Reprocess 3 rows")
    expect(visitor.counts("Enriched")).to_have_text("23")
    visitor.sees_status("Completed")
    expect(visitor.counts("Failed")).to_have_count(0)
    page.get_by_role("button", name="All 24").click()
    page.get_by_role("searchbox").fill("nobody 1 policy")
    visitor.sees_rows(1).get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_contain_text("Round 1: failed")


def test_cancel_asks_first(visitor: Visitor, tmp_path: Path) -> None:
    visitor.deck.misbehave(latency=0.5)
    visitor.opens()
    visitor.chooses(artists_file(tmp_path, 400, first=4_000))
    visitor.uploads()
    visitor.presses("Cancel …")
    visitor.presses("Keep it")
    expect(visitor.page.get_by_role("dialog")).to_have_count(0)
    expect(visitor.page.get_by_role("button", name="Cancel …")).to_be_focused()
    visitor.presses("Cancel …")
    visitor.presses("Cancel the session")
    visitor.sees_status("Cancelled")
    visitor.deck.misbehave(latency=0)


def test_films_are_shown_sorted_and_a_match_is_picked(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    visitor.opens()
    visitor.chooses(export_zip(tmp_path, "picked"))
    expect(page.get_by_role("radio", name="Films")).to_be_checked()
    expect(page.get_by_label("Name of the export")).to_have_value("picked")
    session = visitor.uploads()
    visitor.sees_status("Completed")
    table = page.locator("#films tbody tr")
    expect(table).to_have_count(12)
    expect(table.filter(has_text="The Matrix (1999)")).to_contain_text("Lana Wachowski")
    page.get_by_role("button", name="Minutes").click()
    expect(page.locator("#films th.runtime")).to_have_attribute("aria-sort", "descending")
    longest = visitor.deck.api.get(f"/api/session/{session}/movies?sort=runtime&order=desc&limit=1").json()[0]
    expect(table.first).to_contain_text(longest["title"])
    page.get_by_label("Genre", exact=True).select_option("Science Fiction")
    expect(table.filter(has_text="The Matrix (1999)")).to_have_count(1)
    expect(page.get_by_role("img", name=re.compile("^Films by decade: 1960s: "))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Your ratings: 0.5: "))).to_be_visible()
    visitor.presses("Show what needs a look")
    visitor.sees_rows(1).get_by_role("button").click()
    dialog = page.get_by_role("dialog", name="Solaris (1968)")
    dialog.get_by_role("radio", name="Solaris (1972)").check()
    visitor.checks("match")
    visitor.presses("Take this choice")
    expect(dialog).to_have_count(0)
    expect(visitor.counts("Enriched")).to_have_text("12")
    visitor.sees_status("Completed")
    page.get_by_role("button", name="All", exact=False).first.click()
    page.get_by_role("searchbox").fill("solaris")
    expect(page.locator("#rows tbody")).to_contain_text("Solaris (1972)")


def test_everything_can_be_done_by_keyboard(visitor: Visitor, tmp_path: Path) -> None:
    page, keys = visitor.page, visitor.page.keyboard
    page.on("filechooser", lambda _: None)  # long before: while it is being asked for, a chooser can slip through
    visitor.opens()
    keys.press("Tab")
    assert visitor.focused() == "Skip to the content"
    keys.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    visitor.tabs_to("Choose files")
    with page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(artists_file(tmp_path, 8, first=5_000))
    expect(page.get_by_role("heading", name="1 file to upload")).to_be_focused()
    visitor.tabs_to("Remove names.csv", "Artists", "Budget in dollars")
    keys.type("2")
    visitor.tabs_to("Upload ")
    keys.press("Enter")
    expect(page.get_by_role("heading", name="names.csv")).to_be_focused(timeout=WAIT)
    visitor.sees_status("Completed")
    visitor.sees_rows(8)
    name = page.locator("#rows tbody button").first.inner_text()
    visitor.tabs_to("Reprocess …", "Results, CSV", "Search rows", name)
    keys.press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_focused()
    visitor.tabs_to("Close")
    keys.press("Escape")
    assert visitor.focused() == name
    page.get_by_role("link", name="Sessions").focus()
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(
    chromium: Browser, deck: Deck, artists: UUID, films: UUID, tmp_path: Path, theme: str
) -> None:
    with Visitor.of(chromium, deck, theme=theme) as visitor:
        page = visitor.page
        visitor.opens()
        visitor.checks(f"list-{theme}")
        visitor.chooses(artists_file(tmp_path, 3, first=6_000))
        page.get_by_text("More options").click()
        visitor.checks(f"upload-{theme}", full_page=True)
        visitor.opens(artists)
        expect(page.locator("#errors .groups li")).to_have_count(2)
        page.get_by_text("Files, options and history").click()
        expect(page.get_by_role("region", name="Files")).to_be_visible()
        visitor.checks(f"artists-{theme}", full_page=True)
        visitor.sees_rows(25).first.get_by_role("button").click()
        expect(page.get_by_role("dialog")).to_contain_text("Answer")
        visitor.checks(f"row-{theme}")
        visitor.opens(films)
        expect(page.locator("#films tbody tr")).to_have_count(12)
        visitor.checks(f"films-{theme}", full_page=True)


def test_the_theme_chosen_is_kept(visitor: Visitor) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    visitor.opens()
    light = visitor.page.evaluate(ground)
    visitor.page.get_by_label("Theme").select_option("dark")
    assert visitor.page.evaluate(ground) != light
    visitor.page.reload()
    expect(visitor.page.get_by_label("Theme")).to_have_value("dark")
    assert visitor.page.evaluate(ground) != light


def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    chromium: Browser, deck: Deck, artists: UUID, films: UUID, tmp_path: Path
) -> None:
    with Visitor.of(chromium, deck, width=360, height=740) as visitor:
        visitor.opens()
        assert not visitor.scrolls_sideways()
        visitor.checks("phone-list")
        visitor.chooses(artists_file(tmp_path, 3, first=7_000, name=f"{'a-very-long-name-' * 5}.csv"))
        visitor.page.get_by_text("More options").click()
        assert not visitor.scrolls_sideways()
        for name, session in (("artists", artists), ("films", films)):
            visitor.opens(session)
            visitor.page.get_by_text("Files, options and history").click()
            expect(visitor.page.get_by_role("region", name="Files")).to_be_visible()
            assert not visitor.scrolls_sideways()
            visitor.checks(f"phone-{name}", full_page=True)
        visitor.page.locator("#rows tbody button").first.click()
        expect(visitor.page.get_by_role("dialog")).to_contain_text("As JSON")
        assert not visitor.scrolls_sideways()


def test_an_api_that_does_not_answer_leaves_the_page_standing(visitor: Visitor, artists: UUID) -> None:
    visitor.expected += REFUSED
    page = visitor.page
    page.clock.install()
    visitor.opens(artists)
    page.route("**/api/**", lambda route: route.abort())
    page.clock.run_for(11_000)
    expect(page.locator(".outage")).to_contain_text("Rowlift does not answer.")
    expect(page.locator(".outage")).to_contain_text(re.compile(r"Trying again in \d+ s"))
    expect(visitor.counts("Enriched")).to_have_text("40")
    page.unroute("**/api/**")
    visitor.presses("Try now")
    expect(page.locator(".outage")).to_have_count(0)


def test_a_hidden_page_asks_nothing_and_an_ended_session_is_asked_rarely(visitor: Visitor, artists: UUID) -> None:
    page, asked = visitor.page, []
    page.on("request", lambda request: asked.append(request) if "/status" in request.url else None)
    page.clock.install()
    visitor.opens(artists)
    hide(page, hidden=True)
    asked.clear()
    page.clock.run_for(120_000)
    assert asked == []
    with page.expect_response("**/status") as seen:
        hide(page, hidden=False)
    assert seen.value.request.headers["cache-control"] == "max-age=1"
    for _ in range(3):
        with page.expect_response("**/status"):
            page.clock.run_for(10_500)
    assert len(asked) == 4


def hide(page: Page, *, hidden: bool) -> None:
    """Have the page believe that its tab is behind another, or in front again."""
    page.evaluate(f"Object.defineProperty(document, 'hidden', {{value: {json.dumps(hidden)}, configurable: true}})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_search_goes_on_until_something_is_found_and_can_be_stopped(visitor: Visitor, artists: UUID) -> None:
    held: list[Route] = []

    def answer(route: Route) -> None:
        after = int(re.search(r"after=(\d+)|$", route.request.url)[1] or 0)  # type: ignore[index]
        if after >= 60_000:
            held.append(route)  # the search is still under way when it is stopped
        elif "rare" in route.request.url and after == 40_000:
            row = {"item_no": 40_007, "input": {"artist_name": "Rare"}, "outcome": "enriched", "result": None}
            route.fulfill(json={"items": [row], "next": None})
        else:
            route.fulfill(json={"items": [], "next": after + 20_000})

    visitor.opens(artists)
    page = visitor.page
    page.route("**/items?*q=*", answer)
    page.get_by_role("searchbox").fill("rare")
    expect(visitor.sees_rows(1)).to_contain_text("Rare")
    page.get_by_role("searchbox").fill("never")
    expect(page.locator("#rows .narrowed")).to_contain_text("Nothing found up to row 60,000")
    visitor.presses("Stop")
    expect(page.locator("#rows")).to_contain_text("The search was stopped")
    expect(page.get_by_role("button", name="Search on")).to_be_enabled()


def test_what_was_resumed_is_told(visitor: Visitor, artists: UUID) -> None:
    summary = {"lines": 9, "confirmed": 5, "unknown": 1, "contradicted": 2, "failed": 0, "repeated": 0}
    resumed = {**summary, "unreadable": 0, "torn": 1, "held": 6, "not_in_upload": 0}
    finding = {"line": 4, "key": "k-4", "finding": "contradicted", "message": "The database has another answer."}
    page = visitor.page
    page.route("**/status", lambda route: route.fulfill(json={**route.fetch().json(), "resumed": resumed}))
    answer = {"summary": resumed, "findings": [finding], "next": None}
    page.route("**/resumed?*", lambda route: route.fulfill(json=answer))
    visitor.opens(artists)
    expect(page.locator("#resumed")).to_contain_text("6 held")
    page.get_by_text("Where it disagrees with the database").click()
    expect(page.locator("#resumed .audit")).to_contain_text("Line 4: contradicted")
    visitor.checks("resumed")


def test_a_direct_upload_goes_on_where_the_connection_broke(
    chromium: Browser, deck: Deck, artists: UUID, tmp_path: Path
) -> None:
    # The policy of a local stack lets the page reach no bucket, since none is offered there.
    with Bucket.serving(breaks_after=1_000) as bucket, Visitor.of(chromium, deck, bypass_csp=True) as visitor:
        visitor.expected += [*REFUSED, bucket.address]
        page, file = visitor.page, artists_file(tmp_path, 60, first=8_000)
        told = deck.api.get("/api/pipelines").json()
        page.route("**/api/pipelines", lambda route: route.fulfill(json={**told, "direct_uploads": True}))
        place = {
            "name": "names.csv",
            "object": "o",
            "url": bucket.address,
            "method": "PUT",
            "headers": {"X-Kept": "yes"},
        }
        answer = {"session_id": str(artists), "status": "uploading", "files": [place]}
        page.route("**/api/upload/direct", lambda route: route.fulfill(status=201, json=answer))
        visitor.opens()
        visitor.chooses(file)
        page.get_by_label("Budget in dollars").fill("3")
        with page.expect_request("**/api/upload/direct") as asked:
            assert visitor.uploads() == artists
        size = file.stat().st_size
        assert asked.value.post_data_json == {
            "pipeline": "artists",
            "options": {"budget": "3"},
            "files": [{"name": "names.csv", "size": size}],
        }
        assert bucket.asked == [(None, "yes"), (f"bytes */{size}", None), (f"bytes 1000-{size - 1}/{size}", "yes")]
        assert bucket.kept == file.read_bytes()


def test_the_page_is_light_and_soon_there(visitor: Visitor, capsys: pytest.CaptureFixture[str]) -> None:
    sizes: dict[str, int] = {}
    visitor.page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    visitor.opens()
    visitor.page.wait_for_load_state("networkidle")
    painted = visitor.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    useful = visitor.page.evaluate("performance.now()")
    weight = sum(size for url, size in sizes.items() if "/api/" not in url)
    with capsys.disabled():
        print(f"\ndashboard: {weight / 1000:.0f} KB in {len(sizes)} answers, first paint after {painted:.0f} ms, "
              f"list shown after less than {useful:.0f} ms")  # fmt: skip
    assert weight < HEAVIEST
    folder = ROOT / "shared/dashboard"
    assert sum(path.stat().st_size for path in folder.iterdir()) < HEAVIEST, "what other views would load too"
    assert all(f'"/dashboard/{path.name}"' in (folder / "index.html").read_text() for path in folder.glob("*.js"))


def test_a_session_nobody_knows_is_said_to_be_none(visitor: Visitor) -> None:
    visitor.expected += REFUSED
    visitor.page.goto(f"{visitor.deck.stack.info['api']}/#/session/{artist_id(7)}")
    expect(visitor.page.get_by_role("alert")).to_contain_text("There is no session")
    visitor.page.get_by_role("link", name="All sessions").click()
    expect(visitor.page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
