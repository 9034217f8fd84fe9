"""docs/check_pages.py finds what is wrong with a site, and nothing where nothing is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "check_pages.py"
pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    reason="no Chromium is installed",
)
GOOD = "<!doctype html><p id=here>good<a href='{link}'>there</a></p><table><td>narrow</table>"
LEFT = "<div style='display:flex;flex-direction:row-reverse;width:300px;overflow:hidden'>"
WIDE = "<div style='width:700px'>wide</div>"
BAD = f"""<!doctype html><article>
<a href=missing.html>no file</a> <a href=folder/good.html#nowhere>no such place</a>
<a href=https://example.org>outside, which is no fault</a>
<img src=http://sknoisy.invalid/x.png>
{LEFT}<table style='width:600px;flex-shrink:0'><td>cut</table></div>
<h1 style='overflow:hidden'>{"x" * 40}</h1>
<script>console.error("wrong")</script></article>"""


def check(folder):
    """Run the script on a site; return its exit status, and what it prints."""
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def site(tmp_path):
    """A site of two pages without fault."""
    (tmp_path / "folder").mkdir()
    good = GOOD.format(link="../index.html#here")
    (tmp_path / "folder" / "good.html").write_text(good, encoding="utf-8")
    (tmp_path / "index.html").write_text(GOOD.format(link="folder/good.html"), encoding="utf-8")
    return tmp_path


def test_a_good_site_passes(site):
    assert check(site) == (0, "2 pages at 1200 and 400 pixels: 0 complaints\n")


def test_each_fault_is_found_on_its_page_alone(site):
    (site / "bad.html").write_text(BAD, encoding="utf-8")
    (site / "wide.html").write_text("<!doctype html>" + WIDE, encoding="utf-8")
    status, printed = check(site)
    assert status == 1
    lines = printed.splitlines()
    assert lines[-1] == f"4 pages at 1200 and 400 pixels: {len(lines) - 1} complaints"
    console = [line for line in lines[:-1] if line.startswith("console: ")]
    assert sum('"wrong"' in line for line in console) == 2  # one for each width
    assert all("/bad.html" in line or "sknoisy.invalid" in line for line in console)
    of_pages = sorted(line for line in lines[:-1] if line not in console)
    asks = "asks for http://sknoisy.invalid/x.png"
    cut = "formula, table or heading is cut: 'cut'"
    heading = f"formula, table or heading is cut: '{'x' * 40}'"
    assert of_pages == [
        *(f"bad.html at 1200: {fault}" for fault in (asks, cut)),
        *(f"bad.html at 400: {fault}" for fault in (asks, cut, heading)),
        "bad.html: no file for the link missing.html",
        "bad.html: no such place: folder/good.html#nowhere",
        "wide.html at 400: is 708 pixels wide on a screen of 400",
    ]
