"""The suite of every wheel: it installed whole, every module imports, its programs answer. Needs no GPU."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retread.smoke.runtime import harness, patience
else:
    import harness
    import patience

SETTING = harness.setting()
SITE = SETTING["site"]
PATIENCE = 20.0
"""Seconds for a module that the recipe names: some run a whole benchmark when they are imported beside a GPU."""

OF_CODE = (NameError, AttributeError, TypeError, LookupError, ArithmeticError)
"""Beside an import and a file that is no Python, what a line raises that is wrong."""


def _record() -> list[tuple[str, str, str]]:
    """Return the rows of the installed RECORD of the wheel under test: path, digest, size."""
    wanted = SETTING["wheel"].split("-")[0].lower()
    for name in os.listdir(SITE):
        if name.endswith(".dist-info") and name.split("-")[0].lower() == wanted:
            with open(os.path.join(SITE, name, "RECORD"), encoding="utf-8", newline="") as stream:
                return [(path, digest, size) for path, digest, size in csv.reader(stream)]
    raise AssertionError(f"{SETTING['wheel']} left no .dist-info")


def modules() -> Iterator[str]:
    """Yield the names of the wheel's modules."""
    for path, _, _ in _record():
        stem, suffix = os.path.splitext(path)
        parts = stem.split("/")
        if suffix == ".py" and all(part.isidentifier() for part in parts) and parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def installed() -> dict[str, int]:
    """Every file of RECORD lies there with its bytes, and all of them below the package's own names."""
    rows, programs = (
        _record(),
        os.path.join(os.path.relpath(SETTING["scripts"], SITE), "").replace(os.sep, "/"),
    )
    tops = {path.split("/")[0]: path for path, _, _ in rows if not path.startswith(programs)}
    for path, digest, size in rows:
        if not digest:
            continue
        with open(os.path.join(SITE, path), "rb") as stream:
            data = stream.read()
        kind, _, value = digest.partition("=")
        found = base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).rstrip(b"=").decode()
        assert (found, len(data)) == (value, int(size)), f"{path} is not what RECORD says"
    name = SETTING["wheel"].split("-")[0]
    own = [top for top in tops if not top.endswith((".dist-info", ".libs"))]
    own = [top for top in own if not (top.startswith(name) and top.endswith((".so", ".pyd")))]  # demo_cuda.so
    foreign = [top for top in own if top != name and len(own) > 1]  # one package may be called otherwise
    assert not foreign, f"files outside of the package: {', '.join(map(tops.get, foreign))}"  # type: ignore[arg-type]
    return {"files": len(rows)}


def _is_own(path: str | None) -> bool:
    """Say whether a file is the wheel's."""
    return bool(path) and os.path.realpath(path or "").startswith(os.path.join(os.path.realpath(SITE), ""))


def _is_of_own_code(error: BaseException) -> bool:
    """Say whether an error is a fault of the wheel's own lines, which no package, GPU or time that lacks explains.

    That is a file that is no Python, a name that another module of the wheel does not have, and what Python raises for
    a line that is wrong; what a module raises by itself (RuntimeError) is how it says that something is not there.
    """
    if isinstance(error, SyntaxError):
        return _is_own(error.filename)
    if isinstance(error, ImportError):
        return str(error).startswith("cannot import name ") and _is_own(error.path)
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, OF_CODE) and bool(frames) and _is_own(frames[-1].filename)


def imports(module: str) -> None:
    """Import a module, which has to be the wheel's; what the recipe names may lack something, or take long."""
    reasons = [reason for pattern, reason in SETTING["imports"].items() if fnmatchcase(module, pattern)]
    try:
        with patience.no_longer_than(PATIENCE if reasons else 0):
            found = importlib.import_module(module)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        own = reasons and _is_of_own_code(error)
        if reasons and not own:
            raise harness.Skip(f"{reasons[0]} ({said})") from None
        remark = "; it is a fault of the wheel's own code, which smoke.imports does not excuse" if own else ""
        raise AssertionError(f"import {module}: {said}{remark}") from error
    path = found.__file__ or ""
    assert os.path.realpath(path).startswith(os.path.join(SITE, "")), f"{module} comes from {path}"


def _starter() -> list[str]:
    """Return what starts a program that says by its first line which Python runs it: Windows does not read that."""
    return [sys.executable] if sys.platform == "win32" else []


def answers(command: str) -> None:
    """Run a program of the wheel, which has to end with 0."""
    words = command.split()
    line = (
        [sys.executable, *words]
        if words[0] == "-m"
        else [*_starter(), os.path.join(SETTING["scripts"], words[0]), *words[1:]]
    )
    done = subprocess.run(
        line, capture_output=True, check=False, text=True, encoding="utf-8", errors="replace"
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
    )


if SITE:
    harness.case("package/installed", level="static")(installed)
    for one in modules():
        harness.case(f"package/import/{one}", level="static", module=one)(imports)
    scripts = [f"{name} --help" for name in sorted(os.listdir(SETTING["scripts"]))]
    for one in [*scripts, *SETTING["commands"]]:
        harness.case(f"package/program/{one.removeprefix('-m ')}", level="static", alone=True, command=one)(
            answers
        )

if __name__ == "__main__":
    harness.main()
