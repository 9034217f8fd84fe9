"""Open every page of the built documentation in headless Chromium, wide and narrow.

``make docs check-docs`` builds the pages and runs this. A page fails if it

- writes a message to the console of the browser (other than the notes of the theme),
- asks for anything outside the site,
- is wider than a screen of 400 pixels, or has a formula or table that begins left of it, or a
  heading that does not fit,
- links to a file of the site or to a place in it that does not exist.

Other pages on the web are not visited. Pages are read through a server on this machine; opened
as files they look the same, but browsers let the search show no excerpts then.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

WIDTHS = (1200, 400)
BUILT = Path(__file__).parent / "_build" / "html"
OF_THEME = '"[PST]: '  # its notes on the colours and the side bar of each page
SITE = "http://site.invalid"  # stands for the site where links are resolved
SILENCE_S = 180  # without a page for so long, the browser counts as dead

# Loads page after page in a frame of each width and posts what it finds.
DRIVER = """<!doctype html><title>check</title><iframe id=frame></iframe><script>
const frame = document.getElementById("frame");
const open = (path, width) => new Promise(loaded => {
  frame.style = `border:0;height:900px;width:${width}px`;
  frame.onload = loaded;
  frame.src = path;
});
const post = found => fetch("/found", {method: "POST", body: JSON.stringify(found)});
(async () => {
  for (const path of PAGES) for (const width of WIDTHS) {
    await open(path, width);
    await new Promise(done => setTimeout(done, 50));
    const inside = frame.contentWindow, root = frame.contentDocument.documentElement;
    const resources = inside.performance.getEntriesByType("resource").map(entry => entry.name);
    const all = names => [...root.querySelectorAll(names)];
    const cut = all("article math[display=block], article table").filter(
      part => part.getBoundingClientRect().left < -1);
    cut.push(...all("article :is(h1, h2, h3)").filter(
      part => part.scrollWidth > part.clientWidth + 1));
    await post({path, width, client: root.clientWidth, scroll: root.scrollWidth,
      outside: resources.filter(url => !url.startsWith(location.origin + "/")
        && !/^(data|blob):/.test(url)),
      cut: cut.map(part => part.textContent.trim().slice(0, 40))});
  }
  await post(null);
})();
</script>"""


class _Links(HTMLParser):
    """Collects what a page links to or loads, and the places in it."""

    def __init__(self, html):
        super().__init__()
        self.targets, self.places = set(), {"", "top"}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.places |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.targets |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


def pages_of(folder):
    """Return the paths of the pages in a folder; _static has a template among its files."""
    paths = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.html")))
    return [path for path in paths if not path.startswith("_")]


def broken_links(folder):
    """Return a line for each link within the site that leads nowhere."""
    pages = {
        page: _Links((folder / page).read_text(encoding="utf-8")) for page in pages_of(folder)
    }
    lines = []
    for page, links in pages.items():
        for target in sorted(links.targets):
            url = urlsplit(urljoin(f"{SITE}/{page}", target))
            if f"{url.scheme}://{url.netloc}" != SITE:
                continue
            path = unquote(url.path).lstrip("/")
            if not (folder / path).is_file():
                lines.append(f"{page}: no file for the link {target}")
            elif path in pages and unquote(url.fragment) not in pages[path].places:
                lines.append(f"{page}: no such place: {target}")
    return lines


class _Answer(SimpleHTTPRequestHandler):
    """Serves the site and the driver, and takes what the driver finds."""

    def do_GET(self):
        if urlsplit(self.path).path != "/drive":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.server.driver.encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.take(json.loads(body))

    def log_message(self, *arguments):
        """Print nothing."""


class Site(ThreadingHTTPServer):
    """The built pages on a free port of this machine."""

    def __init__(self, folder, pages):
        self.found, self.news, self.done = [], threading.Event(), False
        super().__init__(("127.0.0.1", 0), partial(_Answer, directory=str(folder)))
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        self.driver = DRIVER.replace("PAGES", json.dumps([f"/{page}" for page in pages]))
        self.driver = self.driver.replace("WIDTHS", json.dumps(WIDTHS))

    def take(self, found):
        """Keep what was found on a page; None is the end."""
        if found is None:
            self.done = True
        else:
            self.found.append(found)
        self.news.set()


def browse(chromium, site, folder):
    """Run the driver in a fresh browser; return the lines of its console."""
    log = Path(folder) / "log"
    command = [
        chromium,
        "--headless",
        "--no-sandbox",  # Chromium refuses to run as root with one
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--no-first-run",
        "--disable-component-update",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--remote-debugging-port=0",  # keeps the browser open
        f"--user-data-dir={folder}/browser",
        f"{site.origin}/drive",
    ]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as browser:
        while not site.done:
            site.news.clear()
            if not site.news.wait(SILENCE_S) and not site.done:
                break
        browser.terminate()
    lines = log.read_text().splitlines()
    return [line for line in lines if ":CONSOLE" in line and OF_THEME not in line]


def _complaints(found):
    """What is wrong with a page at a width."""
    if found["outside"]:
        yield f"asks for {', '.join(found['outside'])}"
    if found["width"] < 600 and found["scroll"] > found["client"]:
        yield f"is {found['scroll']} pixels wide on a screen of {found['client']}"
    for text in found["cut"]:
        yield f"formula, table or heading is cut: {text!r}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=BUILT)
    folder = parser.parse_args().folder
    pages = pages_of(folder)
    if not pages:
        sys.exit(f"{folder} has no pages: run make docs first")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        sys.exit("no Chromium is installed")
    lines = broken_links(folder)
    site = Site(folder, pages)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    # Processes of the browser may still write there when it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        lines += [f"console: {line}" for line in browse(chromium, site, scratch)]
    for found in site.found:
        where = f"{found['path'].lstrip('/')} at {found['width']}"
        lines += [f"{where}: {complaint}" for complaint in _complaints(found)]
    if not site.done:
        lines.append(f"the browser stopped after {len(site.found)} pages")
    print(*lines, sep="\n", end="\n" if lines else "")
    print(
        f"{len(pages)} pages at {' and '.join(map(str, WIDTHS))} pixels: {len(lines)} complaints"
    )
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
