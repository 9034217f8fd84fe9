"""The report in headless Chromium: nothing runs, nothing is asked for, nothing is too wide."""

import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hostile_tables import hostile_table

from sknoisy.audit.command import main

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def chromium(folder, *arguments):
    """Run a page in a fresh browser, and return what it prints: the page, and its console."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",  # Chromium refuses to run as root with one
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--no-first-run",
        "--disable-component-update",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'browser'}",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def report(tmp_path_factory, global_random_seed):
    """The report of a hostile table, made by the command."""
    folder = tmp_path_factory.mktemp("report")
    frame = hostile_table(global_random_seed)
    frame.to_csv(folder / "data.csv", index=False)
    out = folder / "report.html"
    command = ["audit", str(folder / "data.csv"), "--label", "kind", "--html", str(out)]
    assert main([*command, "--method", "fast"]) == 0
    return out


class Requests(ThreadingHTTPServer):
    """Serves one page on this machine, and records what is asked for."""

    def __init__(self, html):
        self.paths, self.html = [], html.encode()
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.paths.append(self.path)
        self.send_response(200 if self.path == "/report" else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.server.html if self.path == "/report" else b"")

    def log_message(self, *arguments):
        """Print nothing."""


@pytest.fixture
def serve():
    """Serves a page, and ends with the test."""
    servers = []

    def start(html):
        server = Requests(html)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_hostile_report_has_no_console_message_and_runs_nothing(report, tmp_path):
    page, console = chromium(tmp_path, "--dump-dom", report.as_uri())
    assert console == []
    assert "<title>Label check of data.csv</title>" in page  # a script would have changed it
    assert re.findall("<(?:script|img|iframe|a)[ >]", page) == []
    assert page.count("<h2>") == 7
    assert "&lt;script&gt;" in page


def test_the_report_asks_for_nothing_and_a_script_in_it_would_not_run(report, serve, tmp_path):
    html = report.read_text(encoding="utf-8")
    server = serve(html)
    chromium(tmp_path, "--dump-dom", f"{server.address}/report")
    assert [path for path in server.paths if path != "/favicon.ico"] == ["/report"]
    # The policy of the page, the second lock: here the first one, escaping, is broken by hand.
    broken = "<script>document.title='owned'</script><img src='/x.png'>"
    server = serve(html.replace("<main>", f"<main>{broken}"))
    page, console = chromium(tmp_path, "--dump-dom", f"{server.address}/report")
    assert "<title>owned</title>" not in page
    assert "/x.png" not in server.paths
    assert len(console) >= 2  # so the console is read


@pytest.mark.parametrize("width", [320, 1200])
def test_nothing_is_wider_than_the_screen(report, tmp_path, width):
    frame = (
        f"<iframe id=frame src='report.html' style='border:0;width:{width}px;height:900px'>"
        "</iframe><p id=found></p><script>onload = () => { const root = "
        "frame.contentDocument.documentElement; found.textContent = "
        "`${root.clientWidth} ${root.scrollWidth}`; }</script>"
    )
    outer = report.with_name(f"outer{width}.html")
    outer.write_text(frame, encoding="utf-8")
    page, _ = chromium(tmp_path, "--allow-file-access-from-files", "--dump-dom", outer.as_uri())
    client, scroll = map(int, re.search(r'<p id="found">(\d+) (\d+)</p>', page).groups())
    assert width - 20 <= client <= width
    assert scroll <= client
