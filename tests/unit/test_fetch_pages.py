"""Pages in place of files: their forms and text, and that no page takes for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.upstreams.web_files import confirm_page
from shared.fetching.pages import Page

PAGE = """<!DOCTYPE html><html><head><title> A &amp;
 B</title><style>p { color: red }</style><script>if (a < b) { document.write("<p>no</p>") }</script></head>
<body><!-- <p>hidden</p> --><h1>One</h1><p>two&nbsp;<b>three</b><br>four</p><noscript>never</noscript>
<FORM ID=f method=POST action='/a?b=1&amp;c=2'><INPUT name="x" value="1&quot;"><input type=submit><input name='y'></form></body></html>"""  # noqa: E501


def test_title_text_and_forms() -> None:
    page = Page(PAGE)
    assert page.title == "A & B"
    assert page.text.split("\n") == ["One", "two three", "four"]
    (form,) = page.forms
    assert (form.id, form.method, form.action) == ("f", "post", "/a?b=1&c=2")
    assert form.inputs == {"x": '1"', "y": ""}


def test_the_form_that_asks_whether_a_file_is_really_wanted() -> None:
    (form,) = Page(confirm_page("1AbC")).forms
    assert form.inputs.keys() == {"id", "export", "confirm", "uuid"}
    assert form.action == "https://drive.usercontent.google.com/download"


@given(st.text(alphabet="<>!-/=\"' apformscriptitle&;\n", max_size=300))
def test_nothing_breaks_the_reading(source: str) -> None:
    page = Page(source)
    assert page.text is not None
    assert all(form.method for form in page.forms) or "method" in source.lower()


@pytest.mark.parametrize(
    "piece", ["<", "<!", "<!--", "<a ", "<![", "</", "<script>", "<p a='", "&#", "<?", "<form a='", "<input name=x ",
     "a=",
              "<title>", "<form><input name=x>", "<style></style>", f"<input {'a' * 3_900}>", f"<input {'a=' * 1_900}>",
              "<input " + "a=\"'" * 900 + ">"],
)  # fmt: skip
def test_no_page_takes_for_ever(piece: str) -> None:
    """Two million letters that other parsers read again and again: with those this test would not end today."""
    page = Page(piece * (2_000_000 // len(piece)))
    assert isinstance(page.text, str)
