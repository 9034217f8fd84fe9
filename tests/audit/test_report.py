"""The report: its order, what it says, and that foreign text stays text."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hostile_tables import HOSTILE_CELLS, hostile_table, noisy_table

from sknoisy import audit_labels
from sknoisy.audit.cells import visible
from sknoisy.audit.report import render_report
from sknoisy.audit.report_style import STYLE
from sknoisy.audit.svg import contrast, heat_map, histogram, merge_classes

VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """Reads a page; an element that is not closed in its place is an error."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


def audit_of(frame, seed, **options):
    X = frame[["length", "weight"]].to_numpy()
    return audit_labels(X, frame["kind"], method="fast", random_state=seed, **options)


@pytest.fixture(scope="module")
def noisy(global_random_seed):
    """A frame and its audit."""
    frame, _ = noisy_table(global_random_seed)
    return frame, audit_of(frame, global_random_seed)


@pytest.fixture(scope="module")
def hostile(global_random_seed):
    """A hostile frame, its audit and the report."""
    frame = hostile_table(global_random_seed)
    audit = audit_of(frame, global_random_seed)
    columns = frame.drop(columns="kind")
    return frame, audit, render_report(audit, title=HOSTILE_CELLS[1], columns=columns, top=150)


def test_its_parts_stand_in_the_order_of_the_specification(noisy):
    _, audit = noisy
    titles = re.findall("<h[12]>(.*?)</h[12]>", render_report(audit, title="flowers"))
    assert titles == [
        "Label check of <bdi>flowers</bdi>",
        "Rows to check",
        "Which labels are mixed up",
        "Doubtful rows of each label",
        "Can the list be trusted?",
        "Rows that are there more than once",
        "Unusual rows",
        "What was left out, and how this was made",
    ]


def test_the_first_sentence_has_the_share_its_range_and_the_numbers(noisy):
    _, audit = noisy
    lead = Page(render_report(audit, top=5)).text
    rate, low, high = (100 * share for share in audit.noise_rate)
    assert audit.is_clear
    assert f"About {rate:.0f} of 100 labels look wrong" in lead
    assert f"between {low:.0f} and {high:.0f} of 100" in lead
    assert f"{audit.flagged.sum()} of 150 are doubtful; here are the 5 most doubtful" in lead
    assert "may be right: please check" in lead


def test_a_single_suspect_is_one_label(noisy):
    _, audit = noisy
    single = replace(audit, flagged=np.arange(len(audit)) == 3)
    assert "One of the 150 labels looks doubtful." in Page(render_report(single)).text


def test_on_labels_without_errors_it_claims_none(global_random_seed):
    frame, truth = noisy_table(global_random_seed, rate=0)
    audit = audit_of(frame.assign(kind=truth), global_random_seed)
    text = Page(render_report(audit)).text
    assert "There is no clear sign of wrong labels." in text
    assert "look wrong (" not in text


def test_the_table_has_the_worst_rows_in_order_with_all_that_is_known(noisy):
    frame, audit = noisy
    page = render_report(audit, columns=frame.drop(columns="kind"), top=7)
    body = page.split('class="cards"')[1].split("<tbody>")[1].split("</tbody>")[0]
    lines = [Page(f"<table><tr>{line}</table>").text for line in body.split("<tr>")[1:]]
    assert len(lines) == 7
    for row, line in zip(audit.suspects(7), lines, strict=True):
        assert line.startswith(f"{audit.index[row]}{frame['kind'].iloc[row]}")
        assert audit.labels[audit.suggested_codes[row]] in line
        assert f"{100 * audit.suggested_probability[row]:.0f}\xa0%" in line
        assert f"length: {frame['length'].iloc[row]:.10g}" in line.replace("length", "length: ")
    assert page.count('class="box"') == 7


def test_counts_of_the_heat_map_add_up_to_the_labels(noisy):
    _, audit = noisy
    page = render_report(audit)
    counts = [int(count) for count in re.findall(r"→ \w+: (\d+)</title>", page)]
    assert len(counts) == 9
    assert sum(counts) == len(audit)
    off_diagonal = sum(counts) - sum(counts[::4])
    assert off_diagonal == audit.flagged.sum()


def test_it_has_no_script_no_address_and_the_policy(hostile):
    page = Page(hostile[2])
    allowed = {"html", "head", "meta", "title", "style", "body", "main", "header", "section"}
    allowed |= {"h1", "h2", "p", "b", "i", "bdi", "ul", "li", "div", "span", "dl", "dt", "dd"}
    allowed |= {"table", "thead", "tbody", "tr", "th", "td"}
    allowed |= {"svg", "desc", "g", "rect", "text", "path"}
    assert set(page.tags) <= allowed
    names = {name for _, name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"href", "src", "srcset", "action", "style", "xlink:href"}
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("meta", "content", policy) in page.attributes
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_hostile_cells_labels_names_and_titles_are_shown_as_text(hostile):
    frame, audit, html = hostile
    text = Page(html).text
    flagged = frame.loc[audit.flagged].iloc[:, 0].unique()
    assert len(flagged) > 5
    for value in [*flagged, *frame["kind"].unique(), HOSTILE_CELLS[1], frame.columns[0]]:
        assert visible(value) in text
    assert not set(html) & set("\u202e\u200b\x1b")
    assert "x" * 201 not in html


def test_classes_of_elements_have_no_text_of_the_data(hostile):
    values = {value for _, name, value in Page(hostile[2]).attributes if name in ("class", "id")}
    assert values <= {
        *("lead", "small", "cards", "classes", "bar", "track", "fill0", "fill1", "box", "scroll"),
        *("heat", "histogram", "axis", "count dark", "count light", "count"),
        *("heat-title", "heat-text", "histogram-title", "histogram-text"),
    }


def test_pictures_have_a_title_and_a_text_alternative(hostile):
    page = Page(hostile[2])
    pictures = [
        value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-labelledby")
    ]
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert len(pictures) == 2
    assert {name for names in pictures for name in names.split()} <= ids


def test_duplicates_contradictions_and_outliers_are_listed(global_random_seed):
    frame, _ = noisy_table(global_random_seed)
    kinds = frame["kind"].tolist()
    frame.loc[150] = [*frame.loc[0, ["length", "weight", "colour"]], kinds[0]]
    other = next(kind for kind in ("cat", "dog") if kind != kinds[1])
    frame.loc[151] = [*frame.loc[1, ["length", "weight", "colour"]], other]
    frame.loc[152] = [500.0, -500.0, "red", "cat"]
    text = Page(render_report(audit_of(frame, global_random_seed))).text
    assert f"Row 150 (“{kinds[0]}”) repeats row 0 (“{kinds[0]}”)" in text
    assert f"Row 151 (“{other}”) repeats row 1 (“{kinds[1]}”)" in text
    assert "Row 152 (“cat”)" in text.split("Unusual rows")[1]


def test_thumbnails_are_data_addresses_only(noisy):
    _, audit = noisy
    good = "data:image/png;base64,AAAA"
    addresses = {0: good, 1: "http://127.0.0.1/x.png", 2: None}
    place = {int(row): number % 3 for number, row in enumerate(audit.suspects())}
    page = Page(render_report(audit, thumbnails=lambda row: addresses[place[row]], top=3))
    assert [value for _, name, value in page.attributes if name == "src"] == [good]
    assert page.text.count("cannot be shown") == 2


def test_notes_stand_at_the_end(noisy):
    _, audit = noisy
    page = Page(render_report(audit, notes=["Column left out (dates): <b>day</b>."]))
    assert "Column left out (dates): <b>day</b>." in page.text.split("What was left out")[1]


@pytest.mark.parametrize("n_classes", [19, 20, 21, 300])
def test_a_heat_map_has_at_most_20_classes_and_loses_no_row(n_classes, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    counts = rng.integers(0, 5, (n_classes, n_classes))
    merged, names = merge_classes(counts, [f"class {code}" for code in range(n_classes)])
    assert len(names) == min(n_classes, 20)
    assert merged.sum() == counts.sum()
    if n_classes > 20:
        assert names[-1] == f"other ({n_classes - 19})"
        mixed = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        kept = [int(name.split()[1]) for name in names[:-1]]
        assert mixed[kept].min() >= np.delete(mixed, kept).max()
        np.testing.assert_array_equal(merged[:-1, :-1], counts[np.ix_(kept, kept)])


def rgb(colour):
    """Return the parts of a colour such as #0b5394 or rgb(1, 2, 3)."""
    if colour.startswith("#"):
        long = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        return tuple(int(long[place : place + 2], 16) for place in (0, 2, 4))
    return tuple(map(int, re.findall(r"\d+", colour)))


def test_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((9, 9, 9), (9, 9, 9)) == 1
    # 0x77 is the well-known grey that just fails on white: 4.48.
    assert contrast((0x77,) * 3, (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


def test_text_has_a_contrast_of_4_5_on_its_ground():
    counts = np.arange(400).reshape(20, 20)
    picture = heat_map(counts, [str(code) for code in range(20)], "t", "d")
    cells = re.findall(r'fill="(rgb\(.*?\))".*?class="count (dark|light)"', picture)
    assert len(cells) == 400
    assert {kind for _, kind in cells} == {"dark", "light"}
    grounds = {"dark": "#000", "light": "#fff"}
    assert min(contrast(rgb(ground), rgb(grounds[kind])) for ground, kind in cells) >= 4.5
    assert f"svg .light{{fill:{grounds['light']}}}" in STYLE
    colours = re.findall(r"(?<![-\w])color:(#\w+)", STYLE)
    bars = re.findall(r"\.fill\d\{fill:(#\w+)", STYLE)
    assert len(colours) >= 3
    assert len(bars) == 2
    assert min(contrast(rgb(colour), (255, 255, 255)) for colour in colours + bars) >= 4.5
    (ground,) = re.findall(r"th\{background:(#\w+)", STYLE)
    assert contrast(rgb("#1b1b1b"), rgb(ground)) >= 4.5


def test_bars_of_the_histogram_count_the_scores_and_the_line_stands_at_the_threshold():
    scores = np.repeat([0.05, 0.45, 0.55, 1.0], [3, 5, 7, 20])
    picture = histogram(scores, 0.5, "Scores")
    counts = [int(text) for text in re.findall(r'class="count"[^>]*>(\d+)<', picture)]
    assert counts == [3, 0, 0, 0, 5, 7, 0, 0, 0, 20]
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"', picture)]
    np.testing.assert_allclose(heights, max(heights) * np.sqrt(np.array(counts) / 20), atol=0.05)
    edges = [float(x) for x in re.findall(r'<rect [^>]*x="([\d.]+)"', picture)]
    line = float(re.search(r'd="M([\d.]+) 14V', picture)[1])
    assert edges[4] < line < edges[5]
    assert all(a < b for a, b in pairwise(edges))
    assert "stroke-dasharray" not in histogram(scores, None, "Scores")
