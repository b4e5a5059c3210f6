"""A small real project: a git repository with a submodule, its sdist, wheel, commit proofs, recipe and series."""

from __future__ import annotations

import base64
import difflib
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from loopback import Index
from retread.cli import main
from retread.doors.store import Kind, Store

DATA = Path(__file__).parents[1] / "data" / "fatbin"
SDIST = "tinycuda-1.0.tar.gz"
WHEEL = "tinycuda-1.0-py3-none-manylinux_2_17_x86_64.whl"
INFO = "tinycuda-1.0.dist-info"
BUILT = "tinycuda-1.0+cu128.1-py3-none-manylinux_2_17_x86_64.whl"
LIBRARY = "tinycuda/_C.so"
OPS = "tinycuda/ops.py"
TIME = 1_700_000_000
LINES = tuple(f"VALUE_{number} = {number}" for number in range(1, 41))
FILES = {
    "setup.py": "from setuptools import setup\nsetup()\n",
    "README.md": "# tinycuda\n",
    "csrc/add.cu": "__global__ void add(float *x) { x[0] += 1; }\n",
    "tinycuda/__init__.py": "from .version import __version__\n",
    OPS: "\n".join(LINES) + "\n",
    "tinycuda/dos.py": "A = 1\r\nB = 2\r\nC = 3\r\n",
    "tinycuda/extra/__init__.py": "",
    "tinycuda/extra/deep.py": "DEEP = True\n",
}
INNER = {"include/lib.h": "#pragma once\n", "LICENSE": "do what you like\n"}
METADATA = "Metadata-Version: 2.1\nName: tinycuda\nVersion: 1.0\nRequires-Dist: torch>=2.8\n\nTiny.\n"
WHEEL_TEXT = (
    "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: false\nTag: py3-none-manylinux_2_17_x86_64\n\n"
)
HEADER = """\
Subject: {subject}
Breaks: nothing yet
Affects: everyone
Upstream: not reported
Drop-when: never

Why it is made.
---
"""
RECIPE = """\
name = "tiny-1.0"
project = "tinycuda"
version = "1.0"
summary = "a tiny CUDA project"
native-inputs = ["setup.py", "csrc/**", "third_party/**"]

[pin]
repository = "{repository}"
commit = "{commit}"

[[pin.submodules]]
path = "third_party/lib"
repository = "{inner_repository}"
commit = "{inner_commit}"

[sdist]
file = "{sdist}"
sha256 = "{sdist_sha256}"

[[sdist.unproven]]
paths = ["PKG-INFO"]
reason = "written by setuptools"

[targets.cu128]
cuda = "12.8"
torch = ">=2.8"
revision = 1
architectures = ["8.0", "9.0a"]
ptx = ["8.0"]
generated = ["tinycuda/version.py", "tinycuda/**.so"]

[[targets.cu128.base]]
file = "{wheel}"
sha256 = "{wheel_sha256}"

[[targets.cu128.edit]]
file = "tinycuda/version.py"
find = '"1.0"'
replace = '"{{version}}"'
"""
TOOLCHAIN = """\
name = "{name}"
cuda = "{cuda}"
ptx-isa = "{isa}"

[[part]]
component = "ptxas"
machine = "{machine}"
package = "{package}"
file = "{file}"
sha256 = "{sha256}"
ptxas = "bin/ptxas"
"""
PTXAS = """\
#!/bin/sh
[ "$1" = --version ] && echo "Cuda compilation tools, release 12.8, V12.8.93" && exit
for out; do :; done
exec cp "{data}/add.${{1#-arch=}}.cubin" "$out"
"""
GIT = {
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_AUTHOR_DATE": f"{TIME} +0000",
    "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_COMMITTER_DATE": f"{TIME} +0000",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


def names(folder: Path) -> list[str]:
    """Return the names of what lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, deaf to the user's configuration, and return what it said."""
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder, env={"PATH": os.environ["PATH"], **GIT}, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode()


def commit(folder: Path, files: Mapping[str, str], module: Path | None = None) -> str:
    """Make a repository of ``files``, with ``module`` as its submodule, and return its commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())
    if module:
        git(folder, "submodule", "--quiet", "add", f"file://{module}", "third_party/lib")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return git(folder, "rev-parse", "HEAD").strip()


def proof(repository: Path, commit: str) -> bytes:
    """Return a commit's proof in retread's format."""
    raw = subprocess.run(
        ["git", "cat-file", "commit", commit], cwd=repository, capture_output=True, check=True
    )
    head = {
        "repository": repository.name,
        "commit": commit,
        "commit_object": base64.b64encode(raw.stdout).decode(),
    }
    lines = [json.dumps(head)]
    for line in git(repository, "ls-tree", "-r", "--full-tree", commit).splitlines():
        facts, path = line.split("\t")
        mode, _, identity = facts.split(" ")
        lines.append(f"{mode} {identity} {path}")
    return ("\n".join(lines) + "\n").encode()


def make_sdist(files: Mapping[str, bytes], more: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """Return a source archive; ``more`` are members without content."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return out.getvalue()


def record(files: Mapping[str, bytes], folder: str = INFO) -> bytes:
    """Return the RECORD of a wheel's files."""
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{folder}/RECORD,,\n"]).encode()


def zip_bytes(files: Mapping[str, bytes], modes: Mapping[str, int] | None = None, level: int = 1) -> bytes:
    """Return a zip archive as a wheel's builder writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, 0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(info, data, compresslevel=level)
    return out.getvalue()


def wheel_files() -> dict[str, bytes]:
    """Return what the official wheel holds, without RECORD."""
    files = {path: text.encode() for path, text in FILES.items() if path.startswith("tinycuda/")}
    files["tinycuda/version.py"] = b'__version__ = "1.0"\n'
    files[LIBRARY] = (DATA / "libadd.so").read_bytes()
    files[f"{INFO}/METADATA"] = METADATA.encode()
    files[f"{INFO}/WHEEL"] = WHEEL_TEXT.encode()
    return files


def make_wheel(files: Mapping[str, bytes], **changes: bytes) -> bytes:
    """Return a wheel of ``files`` with a right RECORD."""
    return zip_bytes({**files, f"{INFO}/RECORD": record(files), **changes})


def diff(path: str, old: str, new: str) -> str:
    """Return a git diff; "" for ``old`` or ``new`` adds or deletes the file."""
    lines = list(
        difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True),
            f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null",
        )
    )  # fmt: skip
    mode = "" if old and new else f"{'new' if new else 'deleted'} file mode 100644\n"
    return f"diff --git a/{path} b/{path}\n{mode}" + "".join(lines)


def ops(**values: int) -> str:
    """Return ops.py with other values: ``ops(VALUE_3=30)``."""
    return "".join(
        f"{name} = {values.get(name, int(name[6:]))}\n" for name in (line.split()[0] for line in LINES)
    )


class Upstream(NamedTuple):
    """What upstream published, made once."""

    repository: Path
    commit: str
    inner: Path
    inner_commit: str
    proofs: Mapping[str, bytes]
    sdist: Mapping[str, bytes]
    """Path in the archive -> content."""


def make_upstream(folder: Path, files: Mapping[str, str] = FILES) -> Upstream:
    """Make the two repositories and everything that is derived from them."""
    inner, repository = folder / "lib", folder / "tinycuda"
    inner_commit = commit(inner, INNER)
    outer_commit = commit(repository, files, inner)
    top = "tinycuda-1.0"
    sdist = {f"{top}/{path}": text.encode() for path, text in files.items()}
    sdist |= {f"{top}/third_party/lib/{path}": text.encode() for path, text in INNER.items()}
    sdist[f"{top}/PKG-INFO"] = METADATA.encode()
    proofs = {
        f"tinycuda-{outer_commit[:12]}.tree": proof(repository, outer_commit),
        f"lib-{inner_commit[:12]}.tree": proof(inner, inner_commit),
    }
    return Upstream(repository, outer_commit, inner, inner_commit, proofs, sdist)


class Result(NamedTuple):
    """What a run of the command line left."""

    code: int
    out: str
    err: str

    @property
    def wheel(self) -> Path:
        """The path on the last line of stdout."""
        return Path(self.out.splitlines()[-1])


class Project:
    """A workspace with one recipe for tinycuda, whose files an index serves."""

    def __init__(self, folder: Path, upstream: Upstream, index: Index, read: Callable[[], Any]) -> None:
        self.root = folder / "work"
        self.store = Path(os.environ["RETREAD_STORE"])
        self.upstream = upstream
        self.index = index
        self._read = read
        self.recipe_text = ""
        (self.root / "recipes" / "commits").mkdir(parents=True)
        for name, data in upstream.proofs.items():
            (self.root / "recipes" / "commits" / name).write_bytes(data)
        self.publish(sdist=make_sdist(upstream.sdist), wheel=make_wheel(wheel_files()))
        self.series(diff(OPS, FILES[OPS], ops(VALUE_3=30)))

    # What upstream published, and what the maintainer wrote.

    def publish(self, *, sdist: bytes | None = None, wheel: bytes | None = None) -> None:
        """Serve these files, and pin them in the recipe."""
        files = self.index.files.setdefault("tinycuda", {})
        files |= {SDIST: sdist} if sdist is not None else {}
        files |= {WHEEL: wheel} if wheel is not None else {}
        up = self.upstream
        self.write_recipe(
            RECIPE.format(
                repository=f"file://{up.repository}", commit=up.commit, inner_commit=up.inner_commit,
                inner_repository=f"file://{up.inner}", sdist=SDIST, sdist_sha256=sha256(files[SDIST]),
                wheel=WHEEL, wheel_sha256=sha256(files[WHEEL]),
            )
        )  # fmt: skip

    def publish_wheel(self, change: Callable[[dict[str, bytes]], object], **late: bytes) -> None:
        """Serve and pin a base wheel with changed files; RECORD is right unless ``late`` says otherwise."""
        files = wheel_files()
        change(files)
        self.publish(wheel=make_wheel(files, **late))

    def publish_sdist(self, change: Callable[[dict[str, bytes]], object], *more: tarfile.TarInfo) -> None:
        """Serve and pin a source archive with changed files."""
        files = dict(self.upstream.sdist)
        change(files)
        self.publish(sdist=make_sdist(files, more))

    def write_recipe(self, text: str) -> None:
        """Write the recipe."""
        self.recipe_text = text
        (self.root / "recipes" / "tiny-1.0.toml").write_text(text)

    def edit_recipe(self, old: str, new: str) -> None:
        """Replace a text that stands once in the recipe."""
        assert self.recipe_text.count(old) == 1, old
        self.write_recipe(self.recipe_text.replace(old, new))

    def series(self, *diffs: str | bytes) -> None:
        """Write a series of patches 0001-change.patch and so on."""
        folder = self.root / "patches" / "tinycuda" / "1.0"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        names = [f"{number:04}-change.patch" for number in range(1, len(diffs) + 1)]
        for name, body in zip(names, diffs, strict=True):
            data = body if isinstance(body, bytes) else body.encode()
            (folder / name).write_bytes(HEADER.format(subject=f"Change {name}").encode() + data)
        (folder / "series").write_text("".join(f"{name}\n" for name in names))

    def add_toolchain(
        self, *architectures: str, script: str = PTXAS, isa: str = "8.7", named: str = "fake-12.8"
    ) -> None:
        """Promise more architectures, and name a toolchain whose ptxas is a script that knows the answers."""
        package, cuda = named.replace("-", "nvcc-").split("-")
        info = f"{package}-{cuda}.dist-info"
        files = {
            "bin/ptxas": script.format(data=DATA).encode(),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {cuda}\n\n".encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n\n",
        }
        name = f"{package}-{cuda}-py3-none-any.whl"
        part = zip_bytes(files | {f"{info}/RECORD": record(files, info)})
        self.index.files[package] = {name: part}
        keys = {"name": named, "cuda": cuda, "package": package, "isa": isa, "machine": platform.machine()}
        text = TOOLCHAIN.format(**keys, file=name, sha256=sha256(part))
        (self.root / "recipes" / "toolchains").mkdir(exist_ok=True)
        (self.root / "recipes" / "toolchains" / f"{named}.toml").write_text(text)
        if architectures:
            listed = ", ".join(f'"{one}"' for one in architectures)
            self.edit_recipe(
                'architectures = ["8.0", "9.0a"]', f'architectures = [{listed}]\ntoolchain = "{named}"'
            )

    # Running.

    def run(self, *arguments: str) -> Result:
        """Run the command line in this process, in the workspace."""
        self._read()
        there, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)
        os.chdir(self.root)
        try:
            code = main.run(arguments)
        except SystemExit as end:  # argparse
            code = end.code if isinstance(end.code, int) else 1
        finally:
            os.chdir(there)
            signal.signal(signal.SIGTERM, handler)
        found = self._read()
        return Result(code, found.out, found.err)

    def build(self, *arguments: str) -> Result:
        """Build the recipe."""
        return self.run("build", "tiny-1.0", *arguments)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command line as a process of its own, in the workspace."""
        return subprocess.Popen(
            [sys.executable, "-c", "from retread.cli.main import main; main()", *arguments],
            cwd=self.root, env={**os.environ, **environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str]) -> Result:
        """Wait for a process."""
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Result(process.returncode, out, err)

    # Looking.

    @property
    def built(self) -> Path:
        """The place of the finished wheel."""
        return self.root / "dist" / BUILT

    def entries(self, kind: Kind) -> list[str]:
        """Return the keys of the finished entries of a kind."""
        return [entry.key for entry in Store(self.store).entries() if entry.kind is kind]

    def leftovers(self) -> list[str]:
        """Return everything that a failed build must not leave: output, scratch, what is not finished."""
        found = [*(self.root / "dist").rglob("*"), *(self.store / "scratch").glob("*")]
        store = Store(self.store)
        places = [(kind, path) for kind in Kind for path in (self.store / kind).glob("*/*")]
        found += [path for kind, path in places if kind is Kind.WHEELS or not store.get(kind, path.name)]
        return sorted(map(str, found))

    def partials(self) -> list[Path]:
        """Return downloads that are not complete."""
        return sorted((self.store / "partial").glob("*"))

    def fails(self, code: int, *words: str, partial: bool = False, room: Kind | None = None) -> Result:
        """Build, and check the exit code, the words of the message, and that nothing is left behind."""
        result = self.build()
        assert result.code == code, result
        for word in words:
            assert word in result.err, (word, result.err)
        assert result.out == ""
        assert self.leftovers() == []
        assert bool(self.partials()) == partial
        if room:
            assert self.entries(room) == []
        return result


def skip_without(program: str) -> None:
    """Skip a test where a program is missing."""
    if not shutil.which(program):
        pytest.skip(f"needs {program}")
