"""Values of foreign data as text that does nothing: in HTML, on a terminal, in a spreadsheet."""

import math
from html.parser import HTMLParser

import pytest

from sknoisy.audit.cells import csv_cell, html_text, visible

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>*{display:none}",
    "</title></svg><script>",
    "javascript:alert(1)",
    "&lt;b&gt; & co",
)


class Texts(HTMLParser):
    """Collects the tags and the text of a page, as a browser reads them."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_read_as_text_in_elements_and_in_attributes(text):
    page = Texts()
    page.feed(f'<p title="{html_text(text)}">{html_text(text)}</p>')
    assert page.tags == ["p"]
    assert page.attributes == [("title", text)]
    assert page.text == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u202eabc", "[U+202E]abc"),  # right-to-left override
        ("a\u200bb", "a[U+200B]b"),  # zero-width space
        ("a\x00b", "a[U+0000]b"),
        ("\x1b[31mred", "[U+001B][31mred"),  # terminal escape
        ("\x9b31m", "[U+009B]31m"),  # the same in one byte
        ("\ud800", "[U+D800]"),  # half of a character
        ("one\r\ntwo\nthree", "one↵ two↵ three"),
        ("שלום Straße 東京", "שלום Straße 東京"),
    ],
)
def test_hidden_characters_are_shown_as_code_points(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown
    shown.encode()  # can be written


def test_long_cells_are_cut_and_their_length_is_told():
    shown = visible("x" * 3_000_000)
    assert shown == "x" * 200 + "… (3,000,000 characters)"
    assert visible("x" * 200) == "x" * 200


@pytest.mark.parametrize("missing", [None, math.nan])
def test_missing_values_are_empty(missing):
    assert visible(missing) == ""


@pytest.mark.parametrize("text", ["=cmd()", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "-", "-x"])
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text):
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize(
    "value", ["-1", "+1.5", "-1,5", "-.5e-3", "-12 %"[:3], -1.5, "a=1", "", None]
)
def test_numbers_and_other_cells_stay_as_they_are(value):
    assert csv_cell(value) is value
