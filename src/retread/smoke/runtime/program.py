"""The program of a kit: which levels can run here, what became of every case, the report."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import site
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from retread.canonical import digest
from retread.smoke.runtime import Refusal, fitting, place, ptx, surroundings
from retread.smoke.runtime.place import Folder, Kit
from retread.smoke.runtime.runner import AGAIN, Suite, Table, matching

LEVELS = ("static", "jit", "gpu")
_LENIENT: dict[str, Any] = (
    {"ignore_cleanup_errors": True} if sys.platform == "win32" and sys.version_info >= (3, 10) else {}
)
"""Windows removes no library that a process which is just ending has loaded; the folder is the system's to clear."""
FAILED = 16
INTERRUPTED = 130
STOPPED = "the test was interrupted"
CUT = " (interrupted)"
"""What stands behind the pattern of cases in the report of a run that was interrupted: so it is of a part of a test."""


def main(path: str, arguments: Sequence[str] | None = None) -> int:
    """Run the kit at ``path`` and return the exit code.

    0, 16 a case failed or nothing ran, 17 a changed kit, 18 an unfit machine, 130 interrupted: the report tells of what
    had ended until then.
    """
    options = _options(arguments)
    for number in filter(None, (signal.SIGTERM, getattr(signal, "SIGHUP", None))):  # Windows has no SIGHUP
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        kit = Kit(path)
        if options.wheel:
            kit.take(options.wheel)
        if not kit.manifest["wheel"]:
            raise Refusal(place.CHANGED, "this kit holds no wheel; name the one to try: --wheel FILE")
        if options.fit:
            return 0 if fitting.fit(kit, path) else surroundings.UNFIT
        if why := place.fits(kit.manifest["wheel"]):
            raise Refusal(surroundings.UNFIT, why)
        with tempfile.TemporaryDirectory(prefix="retread-smoke-", **_LENIENT) as root:
            report = _report(kit, place.lay_out(kit, os.path.realpath(root)), options)
    except Refusal as refusal:
        print(f"smoke: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        print("smoke: interrupted; there is no report", file=sys.stderr)
        return INTERRUPTED
    _write(options.json, report)
    if report["only"] != options.only:
        _say(f"smoke: interrupted; {options.json} tells of the cases that had ended, and is no evidence")
        return INTERRUPTED
    return 0 if report["ok"] else FAILED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.json and not options.fit:
        parser.error("the following arguments are required: --json")
    folder = os.path.dirname(options.json) or "."
    if options.json and options.json != "-" and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        parser.error(f"--json {options.json}: no file can be written there")  # now, not after an hour
    if options.compare_ptx_jit and "gpu" not in (options.level or LEVELS):
        parser.error("--compare-ptx-jit compares what the gpu level computes: add --level gpu")
    options.level = [level for level in LEVELS if level in (options.level or ())]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kit.pyz",
        description="Try a wheel on this machine; nothing outside a temporary folder is written.",
    )
    parser.add_argument(
        "--json", metavar="FILE", default="", help="where the report goes; - is standard output"
    )
    parser.add_argument(
        "--fit",
        action="store_true",
        help="try nothing: say whether the wheel fits this Python, torch, driver, GPU",
    )
    parser.add_argument(
        "--level", action="append", choices=LEVELS, help="default: all that this machine can run"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="cases whose id matches, like 'attention/*'"
    )
    parser.add_argument(
        "--compare-ptx-jit",
        action="store_true",
        help="run the gpu level twice natively and once from PTX, by the driver's compiler, and compare the bits",
    )
    parser.add_argument(
        "--any-torch", action="store_true", help="also under a torch that the wheel is not made for"
    )
    parser.add_argument("--wheel", metavar="FILE", help="of a kit that holds none: the wheel to try")
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="FOLDER",
        help="packages that come before the installed ones",
    )
    return parser


def _report(kit: Kit, folder: Folder, options: argparse.Namespace) -> Table:
    wheel = kit.manifest
    environment = _environment(folder, options.path)
    found = surroundings.probe(environment, wheel["requires"])
    outside = _judged(wheel, found, any_torch=options.any_torch)
    _say(
        f"{wheel['wheel']} under Python {found['python']}, torch {found['torch'] or 'none'}, "
        f"Triton {found['triton'] or 'none'}"
    )
    for gpu in found["gpus"]:
        _say(f"  {gpu['name']}, compute capability {gpu['capability']}, {gpu['free'] / 2**30:.0f} GiB free")
    runs: list[Table] = []
    whole = True
    for level in options.level or LEVELS:
        why = _unable(level, found, wheel) if whole else STOPPED
        if why and options.level and whole:
            raise Refusal(surroundings.UNFIT, f"the {level} level cannot run here: {why}")
        compared = (
            found["gpus"][0]["capability"] if level == "gpu" and options.compare_ptx_jit and not why else ""
        )
        trial = Trial(kit, folder, level, environment, options.only, compared)
        run, uninterrupted = _run(trial, why=why)
        whole = whole and uninterrupted
        runs.append({**run, "surroundings": {**_known(found), "outside": outside, **_emulator()}})
    cases = [case for run in runs for case in run["cases"]]
    about = {name: wheel[name] for name in ("wheel", "sha256", "project", "version", "recipe", "target")}
    ended = verdict(cases)
    if not whole and ended == "nothing ran":
        raise KeyboardInterrupt
    if ended == "nothing ran":
        _say(ended)
    ok, only = whole and ended == "passed", options.only + ("" if whole else CUT)
    report = {"schema": 1, **about, "kit": kit.digest, "ok": ok, "only": only, "runs": runs}
    return {**report, "digest": digest(report)}


def verdict(cases: Sequence[Table]) -> str:
    """Return ``passed``, ``FAILED`` or ``nothing ran``: the verdict of ``retread.smoke.tally``, which is not here."""
    ends = {case["outcome"] for case in cases}
    if "failed" in ends:
        return "FAILED"
    return "passed" if "passed" in ends else "nothing ran"


def _judged(wheel: Mapping[str, Any], found: Table, *, any_torch: bool) -> str:
    """Raise Refusal when the wheel cannot be tried under what was found; return what was allowed all the same."""
    if wheel["torch"] and not found["torch"]:
        raise Refusal(
            surroundings.UNFIT,
            f"there is no torch for {sys.executable}; the wheel needs torch{wheel['torch']}",
        )
    missing = surroundings.lacking(wheel["requires"], found["packages"])
    if missing:
        raise Refusal(
            surroundings.UNFIT, f"{sys.executable} lacks what the wheel requires: {', '.join(missing)}"
        )
    outside = surroundings.outside(found["torch"], wheel["wheel"], wheel["torch"])
    if outside and not any_torch:
        raise Refusal(
            surroundings.UNFIT, f"{outside}; --any-torch tries it all the same, and the report says so"
        )
    return outside


def _unable(level: str, found: Table, wheel: Mapping[str, Any]) -> str:
    if level == "jit" and not found["triton"]:
        return "there is no Triton"
    return surroundings.unfit_for_gpu(found, wheel["cuda"], wheel["torch"]) if level == "gpu" else ""


def _emulator() -> Table:
    told = os.environ.get("RETREAD_EMULATOR", "")
    return {"emulator": told} if told else {}


def _known(found: Table) -> Table:
    return {name: value for name, value in found.items() if name != "busy"}


class Trial(NamedTuple):
    """One level of a kit, as it is to be run."""

    kit: Kit
    folder: Folder
    level: str
    environment: Mapping[str, str]
    only: str
    compared: str
    """The capability of the GPU on which native code and PTX are compared; empty where they are not."""

    def suites(self, site: str, **more: str) -> Iterator[Suite]:
        """Yield every suite, told that the wheel lies in ``site``; ``more`` are variables that differ."""
        folder, named = self.folder, os.path.basename(site)
        said = {**self.kit.manifest, "site": site, "scripts": folder.scripts, "level": self.level}
        said |= {"record": bool(self.compared), "portable": site != folder.site}
        path = os.path.join(folder.root, f"{self.level}-{named}.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(said, stream)
        environment = {**self.environment, **more, "RETREAD_SMOKE": path}
        before = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(site if one == folder.site else one for one in before)
        for name in self.kit.manifest["suites"]:
            yield Suite(os.path.join(folder.suites, name), environment, folder.empty["cwd"])


class Tried(NamedTuple):
    """A suite, the cases of it that were asked for, and what became of them."""

    suite: Suite
    listed: list[Table]
    done: list[Table]


def _run(trial: Trial, *, why: str) -> tuple[Table, bool]:
    """Run one level of every suite; return its table, without the surroundings, and whether nobody interrupted it."""
    began, clock = int(time.time()), time.monotonic()
    cases: list[Table] = []
    libraries = trial.kit.manifest["libraries"]
    whole = True
    try:
        if why:
            _say(f"{trial.level}: not run: {why}")
        else:
            _cases(trial, libraries, cases)
    except KeyboardInterrupt:
        whole = False
    for one in cases:
        one.pop("digests", None)
    touched = {library for case in cases if case["outcome"] != "skipped" for library in case["libraries"]}
    untouched = [name for name in libraries if name not in touched]
    seconds = round(time.monotonic() - clock, 2)
    table = {
        "level": trial.level, "started": began, "seconds": seconds, "cases": cases, "untouched": untouched,
        "unable": why,
    }  # fmt: skip
    return table, whole


def _cases(trial: Trial, libraries: Sequence[str], cases: list[Table]) -> None:
    """Run a level of every suite, and add to ``cases`` what became of each, also when it is interrupted."""
    tried = [_suite(suite, trial, libraries, cases) for suite in trial.suites(trial.folder.site)]
    cases += _against_ptx(trial, tried) if trial.compared else []
    if trial.level == "static" and trial.only == "*":
        cases.append(_undisturbed(trial.folder))


def _against_ptx(trial: Trial, tried: Sequence[Tried]) -> list[Table]:
    """Run cases natively once more and then from PTX alone, and return what the comparison finds."""
    site, hidden = ptx.portable(trial.folder, trial.kit.manifest["libraries"], trial.compared)
    if not hidden:
        return [
            ptx.case("wheel", outcome="skipped", reason="no module has PTX for this GPU beside machine code")
        ]
    cache = trial.environment["CUDA_CACHE_PATH"] + "-ptx"
    found: list[Table] = []
    for one, other in zip(tried, trial.suites(site, CUDA_CACHE_PATH=cache)):  # noqa: B905 - 3.9 knows no strict
        found += _hidden(other) if one.suite.name == ptx.CONTROL else []
        cases = ptx.chosen(one.listed, hidden)
        if cases:
            first = {case["id"]: case for case in one.done}
            second = ptx.again(one.suite, cases)
            made = ptx.again(other, cases, patience=ptx.PATIENCE)
            found += (compared := ptx.compared(first, second, made, hidden))
            _say(f"ptx: {one.suite.name}: {_counted(compared)}")
    return found


def _hidden(suite: Suite) -> list[Table]:
    """Return the cases that hold when the driver finds no machine code where it was hidden."""
    listed, failed = suite.cases("gpu")
    cases = matching(listed, "native/hidden/*")
    return [failed] if failed else list(ptx.again(suite, cases).values())


def _suite(suite: Suite, trial: Trial, libraries: Sequence[str], cases: list[Table]) -> Tried:
    """Run a suite, and add to ``cases`` what became of each of its cases, also when it is interrupted."""
    clock, level = time.monotonic(), trial.level
    listed, failed = suite.cases(level)
    wanted = {one["case"]: one for one in matching(listed, trial.only)}
    done: list[Table] = [failed] if failed else []
    workers = min(len(wanted), os.cpu_count() or 1) if level == "jit" else 1
    try:
        suite.run(list(wanted.values()), workers=workers, ended=_telling(done))
        for name, count in _more(done).items():
            _say(f"  failed: {count} more as {name}")
        failed_for = {
            one["reason"]: one for one in reversed(done) if one["outcome"] == "failed" and one["id"] in wanted
        }
        for one in [*failed_for.values()][-AGAIN:] if level == "gpu" else ():
            suite.again(wanted[one["id"]], one)
    except KeyboardInterrupt:
        ended = {one["id"] for one in done}
        done += [suite.untried(name, STOPPED) for name in wanted if name not in ended]
        raise
    finally:
        for one in done:
            one["libraries"] = [known for name in one["libraries"] if (known := _library(name, libraries))]
            one.update(_placeless(one, os.path.dirname(suite.folder)))
        order = {name: index for index, name in enumerate(wanted)}
        done.sort(key=lambda one: order.get(one["id"], -1))
        cases += done
    if done:
        _say(f"{level}: {suite.name}: {_counted(done)}  {time.monotonic() - clock:.1f} s")
    return Tried(suite, list(wanted.values()), done)


def _counted(done: Sequence[Table]) -> str:
    """Return how many cases ended how."""
    counts = {what: sum(one["outcome"] == what for one in done) for what in ("passed", "failed", "skipped")}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def _library(name: str, libraries: Sequence[str]) -> str:
    """Return the wheel's library that a suite means: ``package/_C.so`` is ``package/_C.pyd`` on Windows."""
    if name in libraries:
        return name
    stem = name.removesuffix(".so")
    return next((one for one in libraries if one == f"{stem}.pyd"), "")


def _placeless(value: Any, root: str) -> Any:
    """Return what a case said without the folders of this machine: a report travels."""
    if isinstance(value, dict):
        return {name: _placeless(one, root) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    for where, name in ((root, "KIT"), (sys.prefix, "PYTHON"), (sys.base_prefix, "PYTHON")):
        value = value.replace(where + os.sep, name + os.sep)
    return value


def _telling(done: list[Table]) -> Callable[[Table], None]:
    """Return what keeps each result, and says each failure at once that is not for a reason of one before."""

    def ended(one: Table) -> None:
        reasons = {nameless(other["id"], other["reason"]) for other in _failed(done)}
        done.append(one)
        if one["outcome"] == "failed" and nameless(one["id"], one["reason"]) not in reasons:
            _say(f"  failed: {one['id']}: {one['reason']}")

    return ended


def _failed(done: Sequence[Table]) -> list[Table]:
    return [one for one in done if one["outcome"] == "failed"]


def _more(done: Sequence[Table]) -> dict[str, int]:
    """Return how many more cases failed for the reason of one that was told, by the id of that one."""
    found: dict[str, list[str]] = {}
    for one in _failed(done):
        found.setdefault(nameless(one["id"], one["reason"]), []).append(one["id"])
    return {ids[0]: len(ids) - 1 for ids in found.values() if len(ids) > 1}


def nameless(name: str, reason: str) -> str:
    """Return a reason without the last part of the case's id, as ``retread.smoke.details`` does, which is not here."""
    own = name.rpartition("/")[2]
    return re.sub(rf"(?<![\w.]){re.escape(own)}(?!\w)", "*", reason) if re.search("[a-z]", own) else reason


def _undisturbed(folder: Folder) -> Table:
    """Return the case that holds when installing and importing wrote nothing outside of the package."""
    left = folder.left()
    reason = f"written outside of the package: {', '.join(left[:10])}" if left else ""
    fault = {"type": "Written", "message": reason, "where": "", "kernel": "", "stack": "\n".join(left)}
    return {
        "id": "package/undisturbed", "suite": "package", "outcome": "failed" if left else "passed", "seconds": 0.0,
        "reason": reason, "note": "", "numbers": {}, "libraries": [], "fault": fault if left else None, "again": None,
    }  # fmt: skip


def _environment(folder: Folder, paths: Sequence[str]) -> dict[str, str]:
    """Return the caller's environment with the wheel before all else, and every cache in the test's own folder."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONSTARTUP"}}
    before = [*(os.path.realpath(path) for path in paths), folder.site, os.environ.get("PYTHONPATH", "")]
    caches = {
        name: os.path.join(folder.caches, name)
        for name in (
            "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CACHE_HOME"
        )
    }  # fmt: skip
    return {
        **env,
        **caches,
        **(
            {"PYTHONUTF8": "1"} if sys.platform == "win32" else {}
        ),  # there, what is piped has the system's letters
        "PYTHONPATH": os.pathsep.join(path for path in before if path),
        "PYTHONUSERBASE": site.getuserbase(),
        **dict.fromkeys(("HOME", "USERPROFILE"), folder.empty["home"]),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder.empty["tmp"]),
    }


def _write(path: str, report: Table) -> None:
    text = json.dumps(report, indent=1) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(partial, path)


def _say(text: str) -> None:
    with suppress(OSError):  # whoever listened has gone; the report is what counts
        print(text, file=sys.stderr, flush=True)
