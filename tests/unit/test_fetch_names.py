"""Names of files: what templates make, what headers say, and what no system may be given."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.fetching.names import checked_template, ending, from_disposition, named, original_name, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "file"),
        ("", "file"),
        ("   ", "file"),
        (".bashrc", "bashrc"),
        ("name. ", "name"),
        ("a\x00b\nc.txt", "abc.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("zero\u200bwidth.txt", "zerowidth.txt"),
        ('a<b>c:d"e|f?g*h.txt', "a_b_c_d_e_f_g_h.txt"),
        ("C:\\Windows\\x.txt", "C__Windows_x.txt"),
        ("con", "_con"),
        ("CON.txt", "_CON.txt"),
        ("nul .txt", "_nul .txt"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        ("lpt³", "_lpt³"),
        ("console.txt", "console.txt"),
        ("-rf", "_-rf"),
        ("~root", "_~root"),
        ("Bjo\u0308rk.mp3", "Björk.mp3"),
        ("日本.pdf", "日本.pdf"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=400))
@example("é" * 150 + ".jpeg")
@example("." * 300)
@example("con." + "x" * 300)
def test_every_name_is_safe_and_stays_so(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= 200
    assert not set(safe) & set('\\/:*?"<>|')
    assert not {unicodedata.category(letter) for letter in safe} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert safe[0] not in ".-~ "
    assert safe[-1] not in ". "
    assert safe.partition(".")[0].strip().lower() not in ("con", "prn", "aux", "nul", "com1", "lpt1")
    assert safe_name(safe) == safe


def test_a_long_name_keeps_its_ending() -> None:
    found = safe_name("ä" * 300 + ".jpeg")
    assert found.endswith("ä.jpeg")
    assert len(found.encode()) in (199, 200)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.pdf"', "a b.pdf"),
        ("attachment; filename=plain.pdf", "plain.pdf"),
        ("inline", None),
        ("", None),
        ("attachment; filename=\"old.pdf\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.pdf", "naïve €.pdf"),
        ("attachment; filename*=utf-8'en'x.pdf; filename=y.pdf", "x.pdf"),
        ("attachment; filename*=iso-8859-1''%E4.txt", "ä.txt"),
        ("attachment; filename*=klingon''x; filename=y.pdf", "y.pdf"),
        ("attachment; filename*=broken; filename=y.pdf", "y.pdf"),
        ('attachment; filename="quo\\"te;d.pdf"; size=3', 'quo"te;d.pdf'),
        ('attachment; filename="na\u00c3\u00afve.pdf"', "naïve.pdf"),
        ('ATTACHMENT ; FILENAME = "x.pdf"', "x.pdf"),
        ('attachment; filename="first.pdf"; filename="second.pdf"', "first.pdf"),
    ],
)
def test_content_disposition(header: str, name: str | None) -> None:
    assert from_disposition(header) == name


@given(st.text(max_size=200))
def test_no_header_breaks_the_reading(header: str) -> None:
    safe_name(original_name(header, "/x", "text/plain"))


@pytest.mark.parametrize(
    ("disposition", "path", "kind", "name"),
    [
        ("", "/a/b%20c.pdf?x=1", "application/pdf", "b c.pdf"),
        ("", "/", "text/html", "file.html"),
        ("", "/download", "image/jpeg", "download.jpg"),
        ("", "/x", "", "x.bin"),
        ('attachment; filename="../../x.sh"', "/y", "", "x.sh"),
        ('attachment; filename="..\\\\..\\\\x.sh"', "/y", "", "x.sh"),
        ("", "/%2e%2e%2fetc%2fpasswd", "text/plain", "passwd.txt"),
    ],
)
def test_original_names(disposition: str, path: str, kind: str, name: str) -> None:
    assert original_name(disposition, path, kind) == name


def test_templates() -> None:
    fields = {"video_id": "dQw4w9WgXcQ", "ext": "mp4", "row_id": "7", "original name": "a/b:c.pdf"}
    assert named("{video_id}.{ext}", fields) == "dQw4w9WgXcQ.mp4"
    assert named("{video_id}_transcript.{ext}", {**fields, "ext": "txt"}) == "dQw4w9WgXcQ_transcript.txt"
    assert named("row_{row_id}_{original name}", fields) == "row_7_a_b_c.pdf"
    assert named("{row_id}{title}", fields) == "7"
    assert named("{video_id}", {"video_id": "{row_id}", "row_id": "x"}) == "{row_id}"  # filled once


@pytest.mark.parametrize("template", ["{video}.mp4", "all.mp4", "{ext}", "{}{id}", "{title}.mp4"])
def test_templates_that_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"there is no|names every file alike"):
        checked_template(template)


def test_endings() -> None:
    assert (ending("video/mp4"), ending("x/unknown"), ending("application/pdf", "a.TXT")) == ("mp4", "bin", "txt")
