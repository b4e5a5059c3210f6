"""Make the locks of this directory anew: the same three wheels, locked by every tool whose lock files retread reads.

usage: make.py [FOLDER]

FOLDER is an environment that holds pip, pip-tools, pipenv, poetry and uv; it is made when it does not exist, and a
temporary one is made when none is named.

The wheels lie on an index of this script's own on 127.0.0.1, at a fixed port because poetry and pipenv hash its address
into their locks; in the locks it is written as https://wheels.example.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

LOCKS = Path(__file__).resolve().parent
PORT = 18041
HERE = f"http://127.0.0.1:{PORT}"
INDEX = f"{HERE}/cu128/simple/"
SHOWN = "https://wheels.example"
TOOLS = ["pip>=26", "pip-tools>=7.5", "pipenv", "poetry>=2", "uv>=0.9"]
JSON = "application/vnd.pypi.simple.v1+json"

PYPROJECT = f"""\
[project]
name = "garage"
version = "1.0"
requires-python = ">=3.11,<4"
dependencies = ["tyre-demo==0.0.35+cu128.1"]

[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "wheels"
url = "{INDEX}"

[[tool.uv.index]]
url = "{INDEX}"
default = true
"""

PIPFILE = f"""\
[[source]]
name = "wheels"
url = "{INDEX}"
verify_ssl = false

[packages]
tyre-demo = "==0.0.35+cu128.1"
"""


class Wheel(NamedTuple):
    """A wheel without code: what its name and its METADATA say."""

    project: str
    version: str
    tag: str
    requires: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.project.replace('-', '_')}-{self.version}-{self.tag}.whl"

    def content(self) -> bytes:
        """Return the same bytes at every run."""
        stem = f"{self.project.replace('-', '_')}-{self.version}.dist-info"
        needs = "".join(f"Requires-Dist: {one}\n" for one in self.requires)
        head = (
            f"Metadata-Version: 2.1\nName: {self.project}\nVersion: {self.version}\nRequires-Python: >=3.11\n"
        )
        members = {
            f"{stem}/METADATA": head + needs,
            f"{stem}/WHEEL": f"Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: true\nTag: {self.tag}\n",
        }
        members[f"{stem}/RECORD"] = "".join(f"{name},,\n" for name in (*members, f"{stem}/RECORD"))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, text in members.items():
                archive.writestr(zipfile.ZipInfo(name), text)
        return stream.getvalue()


WHEELS = (
    Wheel("tyre-demo", "0.0.35+cu128.1", "py3-none-manylinux_2_28_x86_64", ("tyre_gauge>=1",)),
    Wheel("tyre-demo", "0.0.35+cu128.1", "py3-none-manylinux_2_28_aarch64", ("tyre_gauge>=1",)),
    Wheel("tyre_gauge", "1.2", "py3-none-any", ('tyre_rim==2.0.post1 ; python_version < "3.13"',)),
    Wheel("tyre_rim", "2.0.post1", "py3-none-any"),
)


class _Handler(BaseHTTPRequestHandler):
    """Project pages as JSON, and the files."""

    contents: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        """Answer with what lies at the path."""
        body = self.contents.get(self.path.replace("%2B", "+"))
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", JSON if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[None]:
    """Serve the wheels while the block runs."""
    for project in {wheel.project for wheel in WHEELS}:
        name = project.replace("_", "-")
        mine = [wheel for wheel in WHEELS if wheel.project == project]
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": [_file(wheel) for wheel in mine]}
        page["versions"] = sorted({wheel.version for wheel in mine})
        _Handler.contents[f"/cu128/simple/{name}/"] = json.dumps(page).encode()
    _Handler.contents |= {f"/files/{wheel.file}": wheel.content() for wheel in WHEELS}
    server = ThreadingHTTPServer(("127.0.0.1", PORT), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _file(wheel: Wheel) -> dict[str, object]:
    content = wheel.content()
    return {
        "filename": wheel.file,
        "url": f"{HERE}/files/{wheel.file.replace('+', '%2B')}",
        "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
        "size": len(content),
        "upload-time": "2026-11-22T10:00:00.000000Z",
        "requires-python": ">=3.11",
    }


def run(command: Sequence[str | Path], folder: Path, home: Path) -> None:
    """Run a tool that knows no index but ours."""
    environment = {
        "PATH": os.defpath, "HOME": str(home), "LC_ALL": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull,
        "PIPENV_VENV_IN_PROJECT": "1", "PIP_INDEX_URL": INDEX, "POETRY_VIRTUALENVS_CREATE": "false",
        "VIRTUALENV_NO_PERIODIC_UPDATE": "1",  # it would outlive the folder
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout.decode()}")


def tools(folder: Path) -> Path:
    """Return where the tools' programs lie, and install them from the user's own index if they are lacking."""
    if not folder.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *TOOLS], check=True)
    return folder / "bin"


def lock(programs: Path, folder: Path) -> None:
    """Lock the same project with every tool, in folders of their own, and keep what they wrote."""
    home = folder / "home"
    commands = {
        "uv.lock": "uv lock",
        "pylock.uv.toml": "uv pip compile --universal --no-header requirements.in -o pylock.uv.toml"
        f" --default-index {INDEX}",
        "requirements-uv.txt": "uv pip compile --universal --generate-hashes --emit-index-url --no-header"
        f" requirements.in -o requirements-uv.txt --default-index {INDEX}",
        "requirements-bare.txt": "uv pip compile --universal --no-header --no-annotate"
        f" requirements.in -o requirements-bare.txt --default-index {INDEX}",
        "requirements-pip-compile.txt": "pip-compile --quiet --generate-hashes --no-header --emit-index-url"
        " --output-file requirements-pip-compile.txt requirements.in",
        "pylock.toml": "pip lock --quiet -r requirements.in -o pylock.toml",
        "poetry.lock": "poetry lock --no-interaction",
        "Pipfile.lock": "pipenv lock",
    }
    for name, command in commands.items():
        place = folder / name.replace(".", "-")
        place.mkdir(parents=True)
        (place / "requirements.in").write_text("tyre-demo==0.0.35+cu128.1\n")
        file = {"Pipfile.lock": "Pipfile"}.get(name, "pyproject.toml")
        (place / file).write_text(PIPFILE if file == "Pipfile" else PYPROJECT)
        program, *rest = command.split()
        run([programs / program, *rest], place, home)
        (LOCKS / name).write_text((place / name).read_text().replace(HERE, SHOWN))
        print(name, file=sys.stderr)
    place = folder / "uv-lock"
    run([programs / "uv", "export", "--format", "pylock.toml", "-o", "pylock.export.toml"], place, home)
    (LOCKS / "pylock.export.toml").write_text((place / "pylock.export.toml").read_text().replace(HERE, SHOWN))


def main() -> None:
    """Make every lock."""
    with tempfile.TemporaryDirectory() as scratch, served():
        lock(tools(Path(sys.argv[1] if len(sys.argv) > 1 else f"{scratch}/tools").absolute()), Path(scratch))


if __name__ == "__main__":
    main()
