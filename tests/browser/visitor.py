"""A person at the dashboard in a real browser, and a record of what the page did behind the scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.stacks import Deck

ARTEFACTS = Path(__file__).parent / "artefacts"
WAIT = 20_000  # milliseconds; two cores run another test file beside this one
# What breaks the Content-Security-Policy shows nowhere else when it breaks silently.
LISTEN = (
    "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + e.blockedURI))"
)


@dataclass
class Visitor:
    """One browser window."""

    page: Page
    deck: Deck
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)  # parts of complaints a test provokes

    @classmethod
    @contextmanager
    def of(
        cls, browser: Browser, deck: Deck, *, width: int = 1200, height: int = 900, theme: str = "light", **more: Any
    ) -> Iterator[Visitor]:
        """A window; whatever its page complained about, or asked of another host, fails the test at its end."""
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce",  # type: ignore[arg-type]
            locale="en-GB", timezone_id="Europe/Berlin", **more,
        )  # fmt: skip
        context.set_default_timeout(WAIT)
        context.add_init_script(LISTEN)
        visitor = cls(page=context.new_page(), deck=deck)
        visitor._listen()
        yield visitor
        context.close()
        unforeseen = [one for one in visitor.complaints if not any(part in one for part in visitor.expected)]
        assert unforeseen == []

    def _listen(self) -> None:
        home = urlsplit(str(self.deck.stack.info["api"])).netloc
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on(
            "request",
            lambda asked: (
                None if urlsplit(asked.url).netloc == home else self.complaints.append(f"another host: {asked.url}")
            ),
        )

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def opens(self, session: UUID | str | None = None) -> None:
        """Go to the list, or to a session and wait until it is shown."""
        self.page.goto(f"{self.deck.stack.info['api']}/#/" + (f"session/{session}" if session else ""))
        expect(self.page.locator("#sessions tbody tr, #sessions code, #rows .listing").first).to_be_visible()

    def chooses(self, *files: Path | dict[str, Any]) -> None:
        """Name files in the file input."""
        self.page.set_input_files("#choose-files", list(files))  # type: ignore[arg-type]
        expect(self.page.get_by_text("looks right")).to_be_visible()

    def uploads(self) -> UUID:
        """Press the button and arrive at the session."""
        self.page.locator(".order button.primary").click()
        expect(self.page.locator(".stands")).to_be_visible(timeout=WAIT)
        return UUID(self.page.url.rpartition("/")[2])

    def presses(self, name: str) -> None:
        """Press the button of this name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def sees_status(self, word: str) -> None:
        """Wait until the session is said to stand so."""
        expect(self.page.locator(".masthead .badge")).to_have_text(word, timeout=WAIT)

    def sees_rows(self, count: int) -> Locator:
        """Wait for the table of rows to have so many, and answer them."""
        rows = self.page.locator("#rows tbody tr")
        expect(self.page.locator("#rows table[aria-busy=false]")).to_be_visible(timeout=WAIT)
        expect(rows).to_have_count(count, timeout=WAIT)
        return rows

    def counts(self, outcome: str) -> Locator:
        """What the legend says of an outcome."""
        return self.page.locator(".legend li", has_text=outcome).locator("strong")

    def downloads(self, name: str) -> bytes:
        """The bytes the browser gets behind a link."""
        with self.page.expect_download() as found:
            self.page.get_by_role("link", name=name, exact=True).click()
        return Path(found.value.path()).read_bytes()

    def checks(self, view: str, **options: Any) -> None:
        """Have axe-core look at what is shown, and keep a picture of it."""
        ARTEFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{view}.png", **options)
        found = Axe().run(self.page).response["violations"]
        told = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found]
        assert told == [], f"{view}: {told}"

    def scrolls_sideways(self) -> bool:
        """Whether something is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def focused(self) -> str:
        """What has the focus, as its visible or spoken name."""
        script = "(e => (e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent || e.id).trim())"
        return str(self.page.evaluate(f"{script}(document.activeElement)"))

    def tabs_to(self, *names: str) -> None:
        """Press Tab until each of these, in this order, has the focus."""
        for name in names:
            passed: list[str] = []
            while not passed or name not in passed[-1]:
                assert len(passed) < 60, f"no {name!r} among {passed}"
                self.page.keyboard.press("Tab")
                passed.append(self.focused())


def dropped(page: Page, target: str, files: Sequence[Path]) -> None:
    """Drag files from outside over an element and let go, as the operating system does."""
    box = page.locator(target).bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
