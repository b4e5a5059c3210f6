"""The pages for people in a real browser: they hold what they should, fit a phone, and the filter works."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import struct
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import reports
from listings import hosted, project
from retread.index.pages.human import channel_page, front_page, project_page
from retread.smoke.page import page as smoke_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no chromium; 'make tools' installs it as root on Debian"
    ),
]
PAGES = ("project", "channel", "front", "smoke", "long")
LONG = (
    *(reports.failed(f"{'x' * 90}/{number}", reason=f"RuntimeError: {'y' * 200}") for number in range(3)),
    reports.case("speed/f16 B=2 M=4096 H=16 K=128 causal", numbers={"own_ms": 1.0, "torch_ms": 2.0}),
    reports.skipped("a/b", "no " * 100),
)
"""Cases whose words are wider than a telephone."""
BASE = "https://wheels.example"
FRAME = """<!doctype html><iframe id=f src="{page}" style="width:390px;height:800px;border:0"></iframe>
<output id=o></output>
<script>f.onload = () => {{ const page = f.contentDocument; {script} }}</script>"""
OPEN = "page.querySelectorAll('details').forEach(one => one.open = true);"
WIDTH = "o.textContent = 'width=' + page.documentElement.scrollWidth"
FILTER = """
const shown = () => [...page.querySelectorAll('[data-torch], tbody tr')].filter(one => one.offsetParent).length;
const before = shown(), choice = [...page.querySelectorAll('select')].find(one => one.options.length > 1);
choice.selectedIndex = choice.options.length - 1;
choice.dispatchEvent(new Event('change', {bubbles: true})); choice.dispatchEvent(new Event('input', {bubbles: true}));
o.textContent = 'before=' + before + ' after=' + shown();
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("site")
    files = [hosted(version=f"0.0.{minor}+cu128.1", torch=f"=={minor - 26}.8.0") for minor in (28, 29, 30)]
    some = project(*files)
    (folder / "project.html").write_bytes(project_page(some, base=BASE))
    (folder / "channel.html").write_bytes(channel_page("cu128", [some], base=BASE))
    (folder / "front.html").write_bytes(front_page(["cu128", "cu130"], base=BASE))
    (folder / "smoke.html").write_text(smoke_page(reports.sample()))
    (folder / "long.html").write_text(smoke_page(reports.report(reports.run(*LONG))))
    for page in PAGES:
        (folder / f"{page}-width.html").write_text(FRAME.format(page=f"{page}.html", script=OPEN + WIDTH))
    (folder / "filter.html").write_text(FRAME.format(page="channel.html", script=FILTER))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def browse(folder: Path, address: str, *options: str) -> str:
    """Return what a headless Chromium prints; it is ended as a whole when it takes too long."""
    assert CHROMIUM is not None
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"]
    line += [f"--user-data-dir={folder / 'profile'}", *options, address]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    process = subprocess.Popen(
        line, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        return process.communicate(timeout=90)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_project_says_what_its_wheels_hold(site: tuple[Path, str], tmp_path: Path) -> None:
    text = browse(tmp_path, f"{site[1]}/project.html", "--dump-dom")
    for said in ("0.0.30+cu128.1", "sha256", "--index-url", f"{BASE}/cu128/simple/"):
        assert said in text
    assert "extra-index-url https" not in text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_a_phone(site: tuple[Path, str], tmp_path: Path, page: str) -> None:
    text = browse(tmp_path, f"{site[1]}/{page}-width.html", "--dump-dom")
    [width] = re.findall(r"width=(\d+)", text.replace(WIDTH, ""))
    assert int(width) <= 390


def test_the_filter_leaves_what_fits(site: tuple[Path, str], tmp_path: Path) -> None:
    text = browse(tmp_path, f"{site[1]}/filter.html", "--dump-dom")
    [(before, after)] = re.findall(r"before=(\d+) after=(\d+)", text)
    assert 0 < int(after) < int(before)


def test_a_page_is_painted(site: tuple[Path, str], tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    browse(tmp_path, f"{site[1]}/project.html", f"--screenshot={shot}", "--window-size=390,2000")
    data = shot.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (390, 2000)
    assert len(data) > 20_000, "an empty page is smaller"
