"""Run the commands on small hostile and odd inputs, and tell what each gives: a table in docs/reference/robustness.md.

    python scripts/bench/inputs.py [--write] FOLDER ...

A FOLDER holds what its README lists: files and folders whose names begin with the numbers of ``WHAT``. Patch series are
put into a workspace of the tests' tiny project, wheels are read, locks are held against an index that lists a small
wheel of their project. Commands run as a user runs them, with a minute and 2 GiB of memory each; one that needs more is
told as that. Without network but for graft, which fetches an assembler once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import tinycuda  # noqa: E402  # the tests' own project and index, which stand on the path only now
import tinyindex  # noqa: E402
from loopback import Index  # noqa: E402

PAGE: Final = ROOT / "docs" / "reference" / "robustness.md"
BEGIN, END = "<!-- inputs: begin -->", "<!-- inputs: end -->"
SECONDS: Final = 60
MEMORY: Final = 2 << 30
_LONGEST: Final = 220
"""Signs of an answer that are shown: what is wrong and where stand at its beginning."""
WHAT: Final = {
    "z01": "a zip without members", "z02": "METADATA's version has 5,000 digits",
    "z03": "WHEEL's tags are 300 x 300 x 300", "z04": "a file at the top that is called x.dist-info",
    "c01": "a recipe with an integer of thousands of hex digits", "c02": "a recipe's version of 5,000 digits",
    "p01": "a policy with an integer of thousands of hex digits", "p02": "a lock of TOML with 20,000 dots in a key",
    "l04-": "a requirement with 49 kB of spaces", "l05-many": "a lock with hundreds of faults",
    "r02": "a smoke report with half a character, digest sound", "s01": "a stamp of the store that is no UTF-8",
    "a01": "an audit beside a wheel that is no UTF-8",
    "nvcc-75": "linked by nvcc, which adds a module without kernels: 7.5 and PTX", "nvcc-80": "the same, 8.0 alone",
    "gxx-75": "the same objects linked by g++", "gxx-90": "linked by g++, 9.0 alone",
    "gxx-split": "one object for 9.0, one for 8.0", "rdc-75": "compiled with -rdc=true",
    "renamed": "the GPU code's section under another name",
    "n10": "code that is inserted twice, the second time through an offset", "p02-whole": "CR LF throughout",
    "p06": "no newline at the end", "p09": "no '\\ No newline at end of file'", "p14": "a change of mode alone",
    "p17": "a copy", "p20": "a name that git quotes", "p35": "0002 is 0001 once more",
    "p36": "the same insertion twice, which git takes", "p50": "a byte order mark", "p62": "a new file in a new folder",
    "w01": "RECORD with backslashes", "w02": "RECORD with a comma that is not quoted",
    "w06": "a file that RECORD lacks",
    "w10": "RECORD with sha512", "w12": "WHEEL's tag is linux", "w18c": "a licence in METADATA that is not indented",
    "w20": "a member twice, with the same bytes", "w28": "entry points that pip cannot read",
    "w30": "a local version with capitals", "w31b": "1.0.0 in the file name, 1.0 in the folder's",
    "w35": "a .so that is a linker's script", "w37": "a .so of 32 bits for another machine",
    "w38": "a .so that is a text",
    "w39-": "cubins and fat binaries as files", "w39c": "GPU code in a file that is not called .so",
    "w43b": "a musllinux tag", "w50": "an absolute NEEDED and run path",
    "l03": "sha512 alone", "l04-sha512": "sha512 alone, of other bytes", "l05-no": "no digest",
    "l08": "an sdist's digest, and none of the wheel",
}  # fmt: skip
"""What a name begins with -> what it is; the longest beginning counts."""
THEIRS: Final = (
    "401de5e47021c24d62e5908371e2e0a5a191613abb9d4f3fcb846ffdf8a0ec9c"
    "5081ccd6f6a1e0da31a0ef3d22911f676635c6701f437fbdc171f720ed785c0b"
)
"""SHA-512 of the wheel that the locks were made about; that of the small wheel stands in its place."""
FUNCTIONS: Final = "".join(
    f"def f{number}():\n    a = 1\n    b = 2\n    return a\n\n\n" for number in range(1, 11)
)


class Ran(NamedTuple):
    """One command on one input: what a user types and gets."""

    name: str
    typed: str
    code: str
    said: str


class Bench:
    """A workspace of the tiny project, an index, and how commands are run in them."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        os.environ |= {"RETREAD_STORE": str(folder / "store"), "NO_COLOR": "1"}
        tinycuda.FILES.update({"tinycuda/rep.py": FUNCTIONS, "tinycuda/noeol.py": "A = 1\nB = 2\nC = 3"})
        upstream = tinycuda.make_upstream(folder / "upstream", tinycuda.FILES)
        self.project = tinycuda.Project(folder, upstream, index, lambda: None)
        self.series = self.project.root / "patches" / "tinycuda" / "1.0"
        self.index = folder / "index"
        self.local = {"PIP_INDEX_URL": index.url, "UV_DEFAULT_INDEX": index.url}
        self.listed = b""
        """The wheel that the index lists."""
        self.inputs = Path("/none")
        """The folder whose inputs are run, which no answer shows."""

    def publish(self) -> None:
        """List a small wheel of the project that locks are about."""
        wheel = tinyindex.make_wheel(
            self.folder / "dist", "xformers", "0.0.35+cu128.1", tag="py39-none-manylinux_2_28_x86_64"
        )
        words = ("publish", str(wheel), "--index", str(self.index), "--allow-unproven", "to be held against")
        done = self.run("publish", "", *words)
        assert done.code == "0", done
        self.listed = wheel.read_bytes()

    def run(self, name: str, typed: str, *words: str, local: bool = True) -> Ran:
        """Run the command line; ``typed`` is what is shown of it."""
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "retread", *words],
                cwd=self.project.root, env={**os.environ, **(self.local if local else {})}, timeout=SECONDS,
                capture_output=True, check=False, preexec_fn=_bounded, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Ran(name, typed, "none", f"**nothing within {SECONDS} s**")
        code = str(done.returncode)
        code = f"**{code}**" if "Traceback" in done.stderr or done.returncode in {1, -9} else code
        print(f"{name} {typed}: {code} after {time.monotonic() - started:.1f} s", file=sys.stderr)
        return Ran(name, typed, code, self._told(done.stdout, done.stderr))

    def _told(self, out: str, err: str) -> str:
        """Return what tells a user what became of it, in a line, without this machine's folders."""
        talk, data = err.strip().splitlines(), [line.strip() for line in out.splitlines() if line.strip()]
        start = next((at for at, line in enumerate(talk) if line.startswith("retread: ")), None)
        if start is not None:
            lines = [re.sub(r"^ +- ", "", line).strip() for line in talk[start : start + 3]]
            told = "; ".join(line for line in lines if not line.startswith("next: "))
        elif "Traceback" in err:
            told = talk[-1]
        else:
            notes = [line.strip() for line in (*talk, *data) if line.strip().startswith("note: ")]
            told = "; ".join(notes[:2] or [line for line in data if line.startswith("lane: ")] or data[-2:])
        for folder in (
            self.project.root,
            self.folder,
            *(self.inputs / one for one in ("gpu", "")),
            self.inputs,
        ):
            told = told.replace(f"{folder}/", "")
        return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}..."


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def rows(bench: Bench, folder: Path) -> Iterator[Ran]:
    """Yield what becomes of every input of a folder, by kind."""
    bench.inputs = bench.inputs if folder.is_relative_to(bench.inputs) else folder
    for path in sorted(folder.iterdir()):
        for begin, act in KINDS.items():
            if re.match(begin, path.name):
                yield from act(bench, path)
                break


def _wheel(bench: Bench, path: Path) -> Iterator[Ran]:
    """Read a wheel in a folder of its own, hold it to the rules, install it with pip, list it."""
    [file] = path.glob("*.whl")
    yield bench.run(path.name, "inspect", "inspect", str(file))
    yield bench.run(path.name, "audit", "audit", str(file))
    if path.name.startswith("z"):
        words = ("publish", str(file), "--index", str(bench.folder / "other"), "--allow-unproven", "to see")
        yield bench.run(path.name, "publish", *words)
    else:
        yield _installed(bench, path.name, file)


def _installed(bench: Bench, name: str, wheel: Path) -> Ran:
    """Say what pip makes of a wheel, beside retread."""
    into = bench.folder / "installed" / name
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        str(into),
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if line.startswith(("ERROR", "Successfully"))
    ]
    said = re.sub(r"/\S*/", "", lines[0]) if lines else "No module named pip"
    return Ran(name, "(pip install)", str(done.returncode), said[:_LONGEST])


def _library(bench: Bench, path: Path) -> Iterator[Ran]:
    """Show how a library serves GPUs, and give it native code of a newer one."""
    if path.suffix != ".so":
        return
    yield bench.run(path.stem, "inspect", "inspect", str(path))
    out = bench.folder / "grafted.so"
    words = (
        "graft",
        str(path),
        "--arch",
        "10.0",
        "--toolchain",
        "cuda-13.0",
        "-o",
        str(out),
        "--root",
        str(ROOT),
    )
    yield bench.run(path.stem, "graft --arch 10.0", *words, local=False)


def _series(bench: Bench, path: Path) -> Iterator[Ran]:
    """Lint and try a series, plan and build with it."""
    shutil.rmtree(bench.series)
    shutil.copytree(path, bench.series)
    for words in (("patch", "check"), ("plan",), ("build",)):
        yield bench.run(path.name, " ".join(words), *words, "tiny-1.0")


def _lock(bench: Bench, path: Path) -> Iterator[Ran]:
    """Hold a lock against the index."""
    file = next(path.glob("*.lock")) if path.is_dir() else path
    if file.suffix == ".lock":
        text = file.read_text("utf-8").replace(THEIRS, hashlib.sha512(bench.listed).hexdigest())
        file = bench.folder / "locks" / path.name / "uv.lock"  # the format is told by the name
        file.parent.mkdir(parents=True)
        file.write_text(text, "utf-8")
    words = ("audit-lock", str(file), "--index", str(bench.index))
    yield bench.run(path.name, "audit-lock", *words)
    if path.is_dir():
        yield bench.run(path.name, "audit-lock --strict", *words, "--strict")


def _recipe(bench: Bench, path: Path) -> Iterator[Ran]:
    """Read a recipe."""
    yield bench.run(path.name, "recipe check", "recipe", "check", str(path))


def _policy(bench: Bench, path: Path) -> Iterator[Ran]:
    """Hold an index against a policy."""
    yield bench.run(
        path.name, "index check --policy", "index", "check", str(bench.index), "--policy", str(path)
    )


def _report(bench: Bench, path: Path) -> Iterator[Ran]:
    """Attach a report."""
    yield bench.run(
        path.name, "smoke --attach", "smoke", "--attach", str(path), "-o", str(bench.folder / "dist")
    )


def _stamp(bench: Bench, path: Path) -> Iterator[Ran]:
    """Put a stamp in the place of a finished entry's."""
    entry = bench.folder / "store" / "wheels" / "ab" / "abcd"
    entry.mkdir(parents=True)
    shutil.copyfile(path, entry / "stamp.json")
    yield bench.run(path.name, "store list", "store", "list")
    yield bench.run(path.name, "store prune", "store", "prune")


def _audit(bench: Bench, path: Path) -> Iterator[Ran]:
    """Put an audit beside a wheel."""
    wheel = bench.folder / "beside" / tinycuda.WHEEL
    wheel.parent.mkdir()
    wheel.write_bytes(tinycuda.make_wheel(tinycuda.wheel_files()))
    shutil.copyfile(path, wheel.with_name(f"{wheel.name}.audit.json"))
    yield bench.run(path.name, "evidence", "evidence", str(wheel))


KINDS: Final[dict[str, Callable[[Bench, Path], Iterator[Ran]]]] = {
    r"(gpu|patches|wheels|locks)$": rows,
    r"(nvcc|gxx|rdc|renamed)-.*\.so$": _library, r"[zw]\d": _wheel, r"l\d|p02-deep": _lock, r"c\d": _recipe,
    r"p01-hex": _policy, r"r\d": _report, r"s\d": _stamp, r"a\d": _audit, r"[np]\d": _series,
}  # fmt: skip
"""What a name begins with -> what is done with it."""


def what(name: str) -> str:
    """Return what an input is."""
    return WHAT[max((begin for begin in WHAT if name.startswith(begin)), key=len)]


def table(found: list[Ran]) -> str:
    """Return the rows as a Markdown table; an input's name stands once."""
    lines, last = (
        ["| input | what it is | command | exit | what it says |", "| --- | --- | --- | ---: | --- |"],
        "",
    )
    for one in found:
        head = ("", "") if one.name == last else (f"`{one.name}`", what(one.name))
        cells = (*head, one.typed, one.code, f"`{one.said.replace('`', chr(39))}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        last = one.name
    return "\n".join(lines)


@contextmanager
def _bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name:
        index = Index()
        try:
            yield Bench(Path(name), index)
        finally:
            index.stop()


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description="what hostile and odd inputs give, as a table")
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    with _bench() as bench:
        bench.publish()
        made = table([one for folder in options.folder for one in rows(bench, folder.absolute())])
    if options.write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}", "utf-8")
    else:
        print(made)


if __name__ == "__main__":
    main()
