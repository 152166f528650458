"""Every way of fetching against the simulated web: what is answered, what is asked for it, and what faults come to.

YouTube's part runs yt-dlp's own extraction on answers made as the real ones are read; no real host was asked for any of
this.
"""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.upstreams.web_files import content
from shared.fetching.wanted import Fetch, What
from shared.links import Kind, Provider, parse_link
from shared.upstreams.base import ErrorClass, Failure
from tests.conformance.simulated_web import SimulatedWebServer

VIDEO = "https://youtu.be/dQw4w9WgXcQ"
PLAYLIST = "https://www.youtube.com/playlist?list=PLrAXtmErZgOeiKm4sgNOknGvNjby9efdf"
FOLDER = "https://drive.google.com/drive/folders/1FoLdErIdExAmPlE0123456789abcdefg"
DOCUMENT = "https://docs.google.com/document/d/1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ_-abcdEf/edit"
PLAIN = "https://files.example.org/a/1mb.bin"


def drive(mark: str = "AbCdE") -> str:
    return f"https://drive.google.com/file/d/1{mark}fGhIjKlMnOpQrStUvWxYz012345/view"


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatedWebServer]:
    server = SimulatedWebServer()
    yield server
    server.stop()


@pytest.fixture
def web(running: SimulatedWebServer) -> SimulatedWebServer:
    running.reset()
    return running


def test_it_says_that_it_is_simulated(web: SimulatedWebServer) -> None:
    assert web.get("/health").json() == {"ok": True, "simulated": True}
    assert web.get("/x").headers["x-simulated"] == "rowlift"


class TestYouTube:
    def test_a_video(self, web: SimulatedWebServer) -> None:
        body = web.body(What.VIDEO, VIDEO)
        assert (body["filename"], body["content_type"], body["file_size_bytes"]) == (
            "dQw4w9WgXcQ.mp4",
            "video/mp4",
            20_000,
        )
        assert web.media.files[body["sha256"]] == content("dQw4w9WgXcQ", b"\x00\x00\x00\x18ftypmp42")
        assert body["metadata"] | {"format_id": "18", "duration": 19, "height": 360} == body["metadata"]

    def test_its_transcript_of_a_machine(self, web: SimulatedWebServer) -> None:
        body = web.body(What.TRANSCRIPT, VIDEO)
        assert body["filename"] == "dQw4w9WgXcQ_transcript.txt"
        text = web.media.files[body["sha256"]].decode()
        assert text.splitlines() == ["so this is", "a simulated video", "of the id dQw4w9WgXcQ"]  # said once
        assert (body["metadata"]["language"], body["metadata"]["automatic"]) == ("en", True)

    def test_a_playlist(self, web: SimulatedWebServer) -> None:
        body = web.body(What.LISTING, PLAYLIST)
        assert [(link.provider, link.kind, len(link.id or "")) for link in body["links"]] == [
            (Provider.YOUTUBE, Kind.VIDEO, 11)
        ] * 3

    @pytest.mark.parametrize(
        ("what", "video", "code"),
        [(What.VIDEO, "PRIVATEgXcQ", "private"), (What.VIDEO, "DELETEDgXcQ", "deleted"),
         (What.VIDEO, "QUOTA_WgXcQ", "unavailable"),
         (What.VIDEO, "SPLITWWgXcQ", "no_format"), (What.TRANSCRIPT, "MUTE_WWgXcQ", "no_captions"),
         (What.VIDEO, "tooshort", "refused_link")],
    )  # fmt: skip
    def test_refusals(self, web: SimulatedWebServer, what: What, video: str, code: str) -> None:
        assert web.failure(what, f"https://youtu.be/{video}").code == f"upstream.{code}"

    def test_a_transcript_needs_no_format(self, web: SimulatedWebServer) -> None:
        assert web.body(What.TRANSCRIPT, "https://youtu.be/SPLITWWgXcQ")["content_type"] == "text/plain"

    def test_hosts_that_are_not_listed_are_not_asked_by_yt_dlp_either(self, web: SimulatedWebServer) -> None:
        failure = web.failure(What.VIDEO, VIDEO, hosts="drive.google.com")
        assert (failure.code, failure.kind) == ("upstream.refused_host", ErrorClass.PERMANENT)
        assert web.asked() == {}

    def test_where_the_file_is_has_to_be_a_listed_host_too(self, web: SimulatedWebServer) -> None:
        failure = web.failure(What.VIDEO, VIDEO, hosts="www.youtube.com,youtubei.googleapis.com")
        assert failure.code == "upstream.refused_host"
        assert "googlevideo.com" in failure.message

    def test_a_host_that_fails_is_told_as_it_failed(self, web: SimulatedWebServer) -> None:
        web.behave(named={"youtubei": "inside"})
        assert web.failure(What.VIDEO, VIDEO).code == "upstream.refused_host"
        web.behave(named={"youtubei": "429"})
        assert web.failure(What.VIDEO, VIDEO).code == "upstream.busy"


class TestYtDlp:
    """It has no network, disk, program or plugin beside what it is given."""

    def test_runs_no_program_writes_nothing_and_connects_nowhere(
        self, web: SimulatedWebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        import socket
        import subprocess

        from yt_dlp.globals import plugin_ies

        connected: list[tuple[str, int]] = []
        connect, real_open = socket.create_connection, builtins.open

        def counted(address: tuple[str, int], *rest: Any, **more: Any) -> socket.socket:
            connected.append(address)
            return connect(address, *rest, **more)

        def reading(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
            assert not set(mode) & set("wax+"), file
            return real_open(file, mode, *rest, **more)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.fail("a program was run"))
        monkeypatch.setattr(socket, "getaddrinfo", _only_this_machine)
        monkeypatch.setattr(socket, "create_connection", counted)
        monkeypatch.setattr(builtins, "open", reading)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        for what, url in ((What.VIDEO, VIDEO), (What.TRANSCRIPT, VIDEO), (What.LISTING, PLAYLIST)):
            web.body(what, url, at_once=3)  # an upstream of its own, with no connections yet
        connected_to = {f"http://{host}:{port}" for host, port in connected}
        assert connected_to == {web.url}
        assert list(tmp_path.iterdir()) == []
        assert plugin_ies.value == {}

    def test_an_id_leads_to_its_video_and_to_nothing_else(self, web: SimulatedWebServer) -> None:
        for url in ("https://www.youtube.com/watch?v=http://x", "https://youtu.be/..%2f..%2fabc", "youtube://a/b"):
            assert web.failure(What.VIDEO, url).code in ("upstream.refused_link", "upstream.unsupported")
        assert web.asked() == {}


def _only_this_machine(host: str, port: int, *rest: Any, **more: Any) -> Any:
    import socket

    assert host == "127.0.0.1", f"{host} was resolved"
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]


class TestDrive:
    def test_a_public_file(self, web: SimulatedWebServer) -> None:
        body = web.body(What.FILE, drive())
        assert body["filename"] == "row_7_drive 1AbCdEfG.bin"
        assert hashlib.sha256(web.media.files[body["sha256"]]).hexdigest() == body["sha256"]
        assert body["cloud_storage_url"] == f"gs://media/sha256/{body['sha256']}"

    def test_one_too_large_for_the_virus_scan(self, web: SimulatedWebServer) -> None:
        assert web.body(What.FILE, drive("LARGE"))["file_size_bytes"] == 20_000
        assert any("confirm=t" in asked and "uuid=" in asked for asked in web.asked())

    @pytest.mark.parametrize(
        ("mark", "code", "kind"),
        [("PRIVATE", "private", ErrorClass.PERMANENT), ("DELETED", "deleted", ErrorClass.PERMANENT),
         ("QUOTA", "quota", ErrorClass.TRANSIENT), ("PAGE", "no_file", ErrorClass.PERMANENT)],
    )  # fmt: skip
    def test_a_page_in_place_of_the_file(self, web: SimulatedWebServer, mark: str, code: str, kind: ErrorClass) -> None:
        before = len(web.media.files)
        failure = web.failure(What.FILE, drive(mark))
        assert (failure.code, failure.kind) == (f"upstream.{code}", kind)
        assert len(web.media.files) == before  # the page is not kept as the file

    def test_a_folder_without_credentials_fails_with_that_reason(self, web: SimulatedWebServer) -> None:
        failure = web.failure(What.LISTING, FOLDER)
        assert (failure.code, failure.kind) == ("upstream.needs_credentials", ErrorClass.PERMANENT)
        assert "GOOGLE_DRIVE_API_KEY" in failure.message

    def test_a_folder_with_credentials_is_listed_page_by_page(self, web: SimulatedWebServer) -> None:
        links = web.body(What.LISTING, FOLDER, drive_key="a-key")["links"]
        assert [(link.provider, link.kind) for link in links] == [
            (Provider.DRIVE, Kind.FILE), (Provider.DRIVE, Kind.FILE), (Provider.DOCS, Kind.DOCUMENT)
        ]  # fmt: skip
        assert not any("a-key" in asked for asked in web.asked())  # keys in addresses end up in logs

    def test_a_file_with_credentials_has_the_name_its_owner_gave_it(self, web: SimulatedWebServer) -> None:
        body = web.body(What.FILE, drive(), drive_key="a-key")
        assert (body["filename"], body["content_type"]) == ("row_7_named 1AbCdEfG.pdf", "application/pdf")

    @pytest.mark.parametrize(("mark", "code"), [("PRIVATE", "private"), ("DELETED", "deleted"), ("QUOTA", "quota")])
    def test_refusals_of_the_api(self, web: SimulatedWebServer, mark: str, code: str) -> None:
        assert web.failure(What.FILE, drive(mark), drive_key="a-key").code == f"upstream.{code}"

    @pytest.mark.parametrize(
        "odd", [{"id": "1' or '1'='1"}, {"id": "../x"}, {"resource_key": "a\r\nX: y"}, {"resource_key": "€"}]
    )
    def test_ids_and_keys_are_nothing_but_that(self, web: SimulatedWebServer, odd: dict[str, str]) -> None:
        for key in ("", "a-key"):
            upstream = web.upstream(drive_key=key)
            link = replace(parse_link(FOLDER), **odd)  # type: ignore[arg-type]
            for what in (What.FILE, What.LISTING):
                failure = upstream.call(Fetch(what=what, link=link), timeout=10)
                assert isinstance(failure, Failure)
                assert failure.code == "upstream.refused_link"
        assert web.asked() == {}

    def test_a_wrong_key_holds_the_session(self, web: SimulatedWebServer) -> None:
        failure = web.failure(What.FILE, drive(), drive_key="wrong")
        assert (failure.code, failure.kind) == ("upstream.bad_key", ErrorClass.SYSTEMIC)
        assert "wrong" not in failure.message


class TestDocs:
    def test_as_pdf_and_text(self, web: SimulatedWebServer) -> None:
        pdf, text = web.body(What.DOCUMENT_PDF, DOCUMENT), web.body(What.DOCUMENT_TEXT, DOCUMENT)
        assert (pdf["content_type"], pdf["filename"]) == ("application/pdf", "row_7_Document 1a2B3c4D.pdf")
        assert (text["content_type"], text["filename"]) == ("text/plain", "row_7_Document 1a2B3c4D.txt")
        assert web.media.files[pdf["sha256"]].startswith(b"%PDF")

    @pytest.mark.parametrize("kind", ["spreadsheets", "presentation"])
    def test_sheets_and_slides(self, web: SimulatedWebServer, kind: str) -> None:
        assert web.body(What.DOCUMENT_PDF, DOCUMENT.replace("document", kind))["content_type"] == "application/pdf"

    def test_what_is_published_to_the_web(self, web: SimulatedWebServer) -> None:
        published = "https://docs.google.com/document/d/e/2PACX-1vQabcdefGHIJ/pub"
        body = web.body(What.DOCUMENT_TEXT, published)
        assert web.media.files[body["sha256"]] == b"Words of 2PACX-1vQabcdefGHIJ"
        assert web.failure(What.DOCUMENT_PDF, published).code == "upstream.unsupported"
        sheet = published.replace("document", "spreadsheets") + "html"
        assert web.body(What.DOCUMENT_PDF, sheet)["content_type"] == "application/pdf"

    @pytest.mark.parametrize(("mark", "code"), [("PRIVATE", "private"), ("DELETED", "deleted"), ("PAGE", "no_file")])
    def test_refusals(self, web: SimulatedWebServer, mark: str, code: str) -> None:
        url = DOCUMENT.replace("1a2B3c", f"1{mark}")
        assert web.failure(What.DOCUMENT_PDF, url).code == f"upstream.{code}"


class TestPlainFiles:
    def test_a_file(self, web: SimulatedWebServer) -> None:
        body = web.body(What.FILE, PLAIN)
        assert (body["filename"], body["file_size_bytes"]) == ("row_7_1mb.bin", 1_000_000)

    def test_the_same_file_is_kept_once(self, web: SimulatedWebServer) -> None:
        one, other = web.body(What.FILE, PLAIN), web.body(What.FILE, PLAIN, row_id="8")
        assert one["cloud_storage_url"] == other["cloud_storage_url"]
        assert one["filename"] != other["filename"]

    def test_a_page_is_a_file_where_the_link_is_to_a_page(self, web: SimulatedWebServer) -> None:
        assert web.body(What.FILE, "https://files.example.org/about.html")["content_type"] == "text/html"
        assert web.failure(What.FILE, "https://files.example.org/PAGE.pdf").code == "upstream.no_file"

    def test_no_host_but_the_listed_ones_is_asked(self, web: SimulatedWebServer) -> None:
        failure = web.failure(What.FILE, PLAIN, hosts="drive.google.com")
        assert (failure.code, failure.kind) == ("upstream.refused_host", ErrorClass.PERMANENT)
        assert "FETCH_HOSTS" in failure.message
        assert web.asked() == {}

    def test_nothing_larger_than_allowed_is_fetched(self, web: SimulatedWebServer) -> None:
        assert web.failure(What.FILE, PLAIN, max_bytes=999_999).code == "upstream.too_large"
        assert web.body(What.FILE, PLAIN, max_bytes=1_000_000)["file_size_bytes"] == 1_000_000

    @pytest.mark.parametrize(
        ("fault", "code", "kind"),
        [("429", "busy", ErrorClass.TRANSIENT), ("500", "server", ErrorClass.TRANSIENT),
         ("503", "server", ErrorClass.TRANSIENT),
         ("page", "no_file", ErrorClass.PERMANENT), ("loop", "network", ErrorClass.TRANSIENT),
         ("inside", "refused_host", ErrorClass.PERMANENT)],
    )  # fmt: skip
    def test_faults(self, web: SimulatedWebServer, fault: str, code: str, kind: ErrorClass) -> None:
        web.behave(faults={fault: 1.0}, retry_after=3)
        failure = web.failure(What.FILE, PLAIN)
        assert (failure.code, failure.kind) == (f"upstream.{code}", kind)
        assert failure.retry_after == (3 if fault == "429" else None)

    def test_no_answer_in_time(self, web: SimulatedWebServer) -> None:
        web.behave(faults={"hang": 1.0})
        assert web.failure(What.FILE, PLAIN, timeout=0.5).code == "upstream.too_slow"

    def test_a_cut_file_is_read_on_where_ranges_are_known(self, web: SimulatedWebServer) -> None:
        web.behave(named={"1mb": "cut:2"})
        body = web.body(What.FILE, PLAIN)
        assert web.media.files[body["sha256"]] == content("/a/1mb.bin", size=1_000_000)
        assert web.asked()[PLAIN] == 3

    def test_and_fails_for_another_try_where_they_are_not(self, web: SimulatedWebServer) -> None:
        web.behave(named={"1mb": "cut:2"}, ranges=False)
        failure = web.failure(What.FILE, PLAIN)
        assert (failure.code, failure.kind) == ("upstream.network", ErrorClass.TRANSIENT)


def test_a_link_that_breaks_rowlift_itself_is_no_sign_that_the_web_is_away(
    web: SimulatedWebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.upstreams.web.fetch_file", lambda *_, **__: 1 / 0)
    failure = web.failure(What.FILE, PLAIN)
    assert (failure.code, failure.kind) == ("upstream.fault", ErrorClass.TRANSIENT)


@pytest.mark.parametrize(
    "url", ["https://www.youtube.com/@somebody", "https://docs.google.com/forms/d/e/1FAIpQLSabcdefghijk/viewform",
            "https://drive.google.com/drive/my-drive"]
)  # fmt: skip
def test_links_to_what_is_no_file(web: SimulatedWebServer, url: str) -> None:
    assert web.failure(What.FILE, url).code == "upstream.unsupported"
    assert web.asked() == {}
