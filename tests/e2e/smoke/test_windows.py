"""What a kit runs is read for Windows: nothing that Python lacks there is used unasked; texts say their encoding.

No Python for Windows is to be had from public packages, so the kit has not run there, nor under Wine.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from retread.smoke.runtime import surroundings

ROOT = Path(__file__).parents[3]
KIT = sorted(
    [*(ROOT / "src/retread/smoke/runtime").glob("*.py"), *(ROOT / "scripts/smoke").glob("*.py")]
    + [ROOT / "src/retread" / name for name in ("arch.py", "canonical.py")]
)
GONE = {
    "os": "fork forkpty setsid setpgid getpgid getpgrp killpg getuid geteuid getgid uname wait waitpid WNOHANG nice "
    "sysconf confstr sched_getaffinity sched_setaffinity getloadavg mkfifo chown ttyname openpty statvfs set_blocking "
    "posix_spawn",
    "signal": "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGQUIT SIGPIPE alarm setitimer ITIMER_REAL pause "
    "pthread_kill sigwait set_wakeup_fd",
    "time": "tzset",
    "faulthandler": "register",
}  # fmt: skip
MODULES = ["fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "select", "crypt", "syslog"]
ASKS = (
    "hasattr(",
    "getattr(",
    "sys.platform",
    "windows",
    "STACK is ",
    "except OSError",
    "except (OSError",
)
"""What asks before it uses."""
TEXT = {"open": 1, "fdopen": 1, "read_text": 0, "write_text": 1, "TemporaryFile": 0}
"""Calls that read or write text -> which argument is the mode; for read_text the encoding itself."""


def scopes(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the functions, those in classes too, and the single statements of a module."""
    for node in tree.body:
        yield from node.body if isinstance(node, ast.ClassDef) else [node]


def faults(source: str) -> list[str]:
    tree, found = ast.parse(source), []
    for scope in scopes(tree):
        said = ast.get_source_segment(source, scope) or ""
        asks = any(one in said for one in ASKS)
        for node in ast.walk(scope):
            found += [f"line {node.lineno}: {one}" for one in _of(node, asks=asks)]  # type: ignore[attr-defined]
    return found


def _of(node: ast.AST, *, asks: bool) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not asks:
        if node.attr in GONE.get(node.value.id, "").split():
            yield f"{node.value.id}.{node.attr}"
    elif isinstance(node, ast.Import | ast.ImportFrom) and not asks:
        names = [getattr(node, "module", None) or "", *(one.name for one in node.names)]
        yield from (name for name in names if name in MODULES)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
        yield from (one for one in _places(node) if not asks)


def _places(node: ast.Call) -> Iterator[str]:
    """Yield the paths of a call that Windows has not."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    first = node.args[0] if node.args else None
    first = first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first
    said = str(first.value) if isinstance(first, ast.Constant) else ""
    reads = name in {"open", "Path", "listdir", "scandir", "exists", "isfile"}
    if reads and said.startswith(("/proc/", "/dev/", "/tmp", "/sys/")):
        yield said


def _of_call(node: ast.Call) -> Iterator[str]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    given = {one.arg: one.value for one in node.keywords}
    if "start_new_session" in given or "preexec_fn" in given:
        yield f"{name}: a session of POSIX's"
    if "encoding" in given or None in given:  # **TEXT names it
        return
    if isinstance(given.get("text"), ast.Constant) or "universal_newlines" in given:
        yield f"{name}: text without an encoding"
    if name in TEXT and not (
        name == "open" and isinstance(node.func, ast.Attribute) and node.func.attr == "open"
    ):
        mode = node.args[TEXT[name]] if len(node.args) > TEXT[name] else given.get("mode")
        binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
        encoded = name in {"read_text", "write_text"} and mode is not None
        if not (binary or encoded or (name == "TemporaryFile" and mode is None)):
            yield f"{name}: text without an encoding"


@pytest.mark.parametrize("path", KIT, ids=lambda path: path.stem)
def test_a_kit_s_module_uses_nothing_unasked_that_windows_has_not(path: Path) -> None:
    assert faults(path.read_text("utf-8")) == []


def test_the_program_that_asks_what_there_is_does_not_either() -> None:
    program = surroundings._PROBE
    assert ast.parse(program)
    assert 'sys.platform == "win32"' in program


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import fcntl", "line 1: fcntl"),
        ("def f():\n    os.killpg(1, 9)", "line 2: os.killpg"),
        ("signal.signal(signal.SIGHUP, f)", "line 1: signal.SIGHUP"),
        ("x = subprocess.run(a, text=True)", "line 1: run: text without an encoding"),
        ("x = open(path)", "line 1: open: text without an encoding"),
        ("x = path.read_text()", "line 1: read_text: text without an encoding"),
        ("x = Path('/proc/self/maps')", "line 1: /proc/self/maps"),
        ("Popen(a, start_new_session=True)", "line 1: Popen: a session of POSIX's"),
    ],
)
def test_the_rule_finds_what_it_should(source: str, told: str) -> None:
    assert faults(source) == [told]
    assert (
        faults("if hasattr(os, 'killpg'):\n    os.killpg(1, 9)\nopen(path, 'rb')\nopen(a, encoding='utf-8')")
        == []
    )
