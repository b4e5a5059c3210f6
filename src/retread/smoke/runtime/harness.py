"""What a smoke suite stands on: cases with an id, a level and a time limit; results as lines of JSON.

A suite is a program: ``SUITE list`` prints its cases, ``SUITE run`` runs those whose ids come on standard input, one
on a line. It may be written without this module; what counts are the lines:

    {"case": "sum/fp16", "level": "gpu", "limit": 60, "alone": false, "env": {}, "libraries": []}    of list
    {"event": "begin", "case": "sum/fp16"}                                                           of run
    {"event": "end", "case": "sum/fp16", "outcome": "passed", "seconds": 0.1, "numbers": {}, ...}

A listed case may be ``timed``: no other runs beside it. The end of a case may have ``digests``, name -> text, of what
it computed: where one program is run twice, these are compared. It may have ``read``, what the process read so far
(``witness``): without that, no result is taken again; and ``parts``, part -> how many of its seconds (``stopwatch``).

Standard library only, Python 3.9 and newer: it runs where there is no retread.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from retread.smoke.runtime.stopwatch import Stopwatch
    from retread.smoke.runtime.witness import Witness

F = TypeVar("F", bound=Callable[..., Any])
_cases: dict[str, Case] = {}
_digests: dict[str, str] = {}
_answers: dict[str, tuple[int, dict[str, Any] | None]] = {}
STACK = getattr(signal, "SIGUSR2", None)
"""Whoever sends this is told where every thread is, on standard error: what ends a case sends it first. Windows has no
such signal."""


class Skip(Exception):  # noqa: N818 - a word of the suites
    """A case that cannot run here; the message says why."""


class Case:
    """One thing to try: a function, under which id, on which level, within how many seconds of processor time.

    ``alone`` gives it a process of its own, ``env`` variables for that process; before a ``fresh`` one all modules of
    the wheel are forgotten, so that it depends on those alone that it imports itself; ``libraries`` are members of the
    wheel that it calls into, like ``package/_C.so``; ``shrink`` are the divisors of its sizes to go on with, one after
    the other, when memory does not suffice: the function is then called with ``shrink=divisor``. Beside one that is
    ``timed`` no other case runs.
    """

    def __init__(
        self,
        *,
        function: Callable[..., Mapping[str, Any] | None],
        name: str,
        level: str,
        limit: float,
        alone: bool,
        env: Mapping[str, str] | None,
        libraries: Sequence[str],
        shrink: Sequence[int],
        arguments: Mapping[str, Any],
        fresh: bool = False,
        timed: bool = False,
    ) -> None:
        self.function = function
        self.name = name
        self.level = level
        self.limit = limit
        self.alone = alone or bool(env)
        self.env = dict(env or {})
        self.libraries = libraries
        self.shrink = shrink
        self.arguments = arguments
        self.fresh = fresh
        self.timed = timed

    def listed(self) -> dict[str, Any]:
        """Return the case as ``list`` prints it."""
        return {
            "case": self.name,
            "level": self.level,
            "limit": self.limit,
            "alone": self.alone,
            "env": self.env,
            "libraries": list(self.libraries),
            "timed": self.timed,
        }


def case(
    name: str,
    *,
    level: str,
    limit: float = 60,
    alone: bool = False,
    env: Mapping[str, str] | None = None,
    libraries: Sequence[str] = (),
    shrink: Sequence[int] = (),
    fresh: bool = False,
    timed: bool = False,
    **arguments: Any,
) -> Callable[[F], F]:
    """Make a function a case; ``arguments`` are given to it, so that one function can be many cases.

    It returns a table of numbers and texts, or nothing; raises AssertionError or anything else to fail, Skip when it
    cannot run here.
    """

    def add(function: F) -> F:
        if name in _cases:
            raise ValueError(f"there are two cases {name}")
        _cases[name] = Case(
            function=function,
            name=name,
            level=level,
            limit=limit,
            alone=alone,
            env=env,
            libraries=libraries,
            shrink=shrink,
            arguments=arguments,
            fresh=fresh,
            timed=timed,
        )
        return function

    return add


def setting() -> dict[str, Any]:
    """Return what retread says of the wheel: ``architectures``, ``ptx``, ``expect``, ``site``, ``level`` and more."""
    path = os.environ.get("RETREAD_SMOKE")
    if not path:
        return {"architectures": [], "ptx": [], "expect": {}, "site": "", "imports": {}, "commands": []}
    with open(path, encoding="utf-8") as stream:
        return dict(json.load(stream))


def _watch() -> Witness | None:
    """Note from now on what this process reads, where results are kept for another time."""
    if not setting().get("witness"):
        return None
    if TYPE_CHECKING:
        from retread.smoke.runtime import witness
    else:
        import witness
    found = witness.Witness()
    found.watch()
    return found


def _clock() -> Stopwatch | None:
    """Count from now on where the seconds of cases go, where that is asked for."""
    if not setting().get("durations"):
        return None
    if TYPE_CHECKING:
        from retread.smoke.runtime import stopwatch
    else:
        import stopwatch
    found = stopwatch.Stopwatch()
    found.watch()
    return found


_watching = _watch()
_timing = _clock()


def ask(code: str) -> int:
    """Run Python code in a process of its own and return its exit code; what it reads counts for the case that asks."""
    if code not in _answers:
        if not _watching:
            done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False)
            _answers[code] = done.returncode, None
        else:
            _answers[code] = _watched(_watching, code)
    answer, told = _answers[code]
    if _watching and told:
        _watching.heed(told)
    return answer


def _watched(watching: Witness, code: str) -> tuple[int, dict[str, Any]]:
    import tempfile

    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "witness.py")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "read.json")
        with watching.deaf():
            done = subprocess.run(
                [sys.executable, program, path, code], stderr=subprocess.DEVNULL, check=False
            )
        try:
            with open(path, encoding="utf-8") as stream:
                return done.returncode, json.load(stream)
        except (OSError, ValueError):
            return done.returncode, {"files": [], "folders": [], "programs": [], "blind": "it did not say"}


def _forget() -> None:
    """Have the wheel's modules imported anew by what comes, as far as they are Python's."""
    site = os.path.join(setting()["site"], "")
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__path__", ())  # torch has modules that call anything their own
        places = [getattr(module, "__file__", None), *(path if isinstance(path, Iterable) else ())]
        if any(isinstance(place, str) and place.startswith(site) for place in places):
            del sys.modules[name]
    if _watching:
        _watching.forget(site)


def record(name: str, value: Any) -> None:
    """Keep the digest of what a case computed, where runs are compared: tensor, array, bytes, or a text.

    What is recorded under one name twice gets a number; of several values each one counts.
    """
    if not setting().get("record") or value is None:
        return
    if isinstance(value, (tuple, list)):
        for one in value:
            record(name, one)
    else:
        count = sum(one.partition("#")[0] == name for one in _digests)
        _digests[f"{name}#{count + 1}" if count else name] = _digest(value)


def _digest(value: Any) -> str:
    """Return what tells two values apart bit by bit: kind, shape and bytes."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        plain = value.detach().to_dense() if value.layout != torch.strided else value.detach()
        data = plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        about = f"{value.dtype} {tuple(value.shape)}"
    elif hasattr(value, "tobytes"):
        data, about = value.tobytes(), f"{getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}"
    else:
        data, about = value if isinstance(value, bytes) else repr(value).encode(), type(value).__name__
    return hashlib.sha256(about.encode() + b"\0" + data).hexdigest()


def main() -> None:
    """List or run the cases of the program that calls this."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "list"
    out = _own_stdout()
    if verb == "list":
        for one in _cases.values():
            _say(out, one.listed())
        return
    if STACK is not None:
        faulthandler.register(STACK)
    for line in sys.stdin:
        name = line.strip()
        if name:
            _say(out, {"event": "begin", "case": name})
            ended, sound = _run(_cases[name])
            read = {"read": _watching.told()} if _watching else {}
            _say(out, {"event": "end", "case": name, **ended, **read})
            if not sound:
                sys.exit(3)  # the GPU's context is lost: the next cases need another process


def _own_stdout() -> IO[str]:
    """Keep standard output for lines of JSON; whatever else is printed goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")  # a file's name may be no text
    os.dup2(2, 1)
    return out


def _say(out: IO[str], line: Mapping[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), file=out, flush=True)


def _run(one: Case) -> tuple[dict[str, Any], bool]:
    """Return how a case ended, and whether the process can go on."""
    if one.fresh and setting()["site"]:
        _forget()
    started = time.perf_counter()
    ended = _tried(one)
    ended["seconds"] = round(time.perf_counter() - started, 4)
    if _timing:
        ended["parts"] = _timing.spent()
    sound, why = _sound() if ended["outcome"] == "failed" else (True, "")
    if why:
        ended["note"] = why
    return ended, sound


def _tried(one: Case) -> dict[str, Any]:
    divisors = [1, *one.shrink]
    for index, divisor in enumerate(divisors):
        _digests.clear()
        try:
            numbers = one.function(**one.arguments, **({"shrink": divisor} if one.shrink else {}))
        except Skip as skip:
            return {"outcome": "skipped", "reason": str(skip)}
        except Exception as error:
            if _is_out_of_memory(error) and index + 1 < len(divisors):
                _free()
                continue
            return {"outcome": "failed", "reason": _first_line(error), "error": _described(error)}
        note = f"sizes divided by {divisor}: the GPU's memory did not suffice for more" if divisor > 1 else ""
        told = {"digests": dict(_digests)} if _digests else {}
        return {"outcome": "passed", "numbers": numbers or {}, "note": note, **told}
    raise AssertionError("a case without a way to run it")


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ in {"OutOfMemoryError", "OutOfResources"} or "out of memory" in str(error)


def _free() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        import gc

        gc.collect()
        torch.cuda.empty_cache()


def _sound() -> tuple[bool, str]:
    """Say whether the GPU still answers after a failure; some faults end its context for the whole process."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return True, ""
    try:
        torch.cuda.synchronize()
        return True, ""
    except Exception as error:
        return False, f"the GPU's context was lost: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _described(error: Exception) -> dict[str, str]:
    """Return kind, message, stack, the innermost line in the wheel's files, and the kernel that the frames name."""
    frames = _frames(error)
    site = setting()["site"]
    inside = [frame for frame in frames if site and frame.filename.startswith(site)]
    where = inside[-1] if inside else traceback.extract_tb(error.__traceback__)[-1]
    return {
        "type": type(error).__name__,
        "message": str(error)[:4000],
        "where": f"{_short(where.filename, site)}:{where.lineno} in {where.name}",
        "kernel": _kernel(error),
        "stack": "".join(traceback.format_exception(type(error), error, error.__traceback__))[-6000:],
    }


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an error and then those of its cause, in which the wheel's own lines may be."""
    own = list(traceback.extract_tb(error.__traceback__))
    return [*own, *_frames(error.__cause__)] if error.__cause__ else own


def _short(filename: str, site: str) -> str:
    return (
        filename[len(site) :].lstrip("/")
        if site and filename.startswith(site)
        else os.path.basename(filename)
    )


def _kernel(error: BaseException) -> str:
    """Return the name of the Triton kernel or torch operator that was being launched, as far as the frames know."""
    found = ""
    walk = error.__traceback__
    while walk is not None:
        holder = walk.tb_frame.f_locals.get("self")
        kind = type(holder).__name__
        if kind in {"JITFunction", "Autotuner", "Heuristics"}:
            function = getattr(holder, "fn", None)
            found = getattr(function, "__name__", found) or found
        elif kind in {"OpOverload", "OpOverloadPacket"}:
            found = str(holder)
        walk = walk.tb_next
    return found
