"""The program of a kit: which levels can run here, what became of every case, the report."""

from __future__ import annotations

import argparse
import json
import os
import signal
import site
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from retread.canonical import digest
from retread.smoke.runtime import Refusal, course, fitting, place, surroundings
from retread.smoke.runtime.course import Trial, say
from retread.smoke.runtime.ledger import FRESH, Ledger
from retread.smoke.runtime.place import Folder, Kit
from retread.smoke.runtime.runner import Table

LEVELS = ("static", "jit", "gpu")
_LENIENT: dict[str, Any] = (
    {"ignore_cleanup_errors": True} if sys.platform == "win32" and sys.version_info >= (3, 10) else {}
)
"""Windows removes no library that a process which is just ending has loaded; the folder is the system's to clear."""
PROBE = "surroundings"
"""What the ledger calls what was found of this machine."""
_ROOM = 16 << 30
"""Bytes of a GPU's memory for a process beside others, so that none has to shrink its sizes for them."""
_BESIDE = 4
"""So many processes share a GPU: four keep it busy while the others import and compile."""
FAILED = 16
INTERRUPTED = 130
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
            report, kept = _report(kit, place.lay_out(kit, os.path.realpath(root)), options)
    except Refusal as refusal:
        print(f"smoke: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        print("smoke: interrupted; there is no report", file=sys.stderr)
        return INTERRUPTED
    _write(options.json, report, kept if options.known else None)
    if report["only"] != options.only:
        say(f"smoke: interrupted; {options.json} tells of the cases that had ended, and is no evidence")
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
    parser.add_argument(
        "--durations",
        action="store_true",
        help="the report says of each case what it imported and compiled, in seconds",
    )
    parser.add_argument(
        "--known", metavar="FILE", default="", help="results of earlier runs, which a retread keeps"
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


def _report(kit: Kit, folder: Folder, options: argparse.Namespace) -> tuple[Table, Table]:
    """Return the report, and what of it may be taken another time."""
    wheel = kit.manifest
    environment = _environment(folder, options.path)
    ledger, none = Ledger(options.known, kit, folder), Ledger("", kit, folder)
    found = _found(environment, wheel["requires"], ledger)
    outside = _judged(wheel, found, any_torch=options.any_torch)
    say(
        f"{wheel['wheel']} under Python {found['python']}, torch {found['torch'] or 'none'}, "
        f"Triton {found['triton'] or 'none'}"
    )
    for gpu in found["gpus"]:
        say(f"  {gpu['name']}, compute capability {gpu['capability']}, {gpu['free'] / 2**30:.0f} GiB free")
    runs: list[Table] = []
    whole = True
    for level in options.level or LEVELS:
        why = _unable(level, found, wheel) if whole else course.STOPPED
        if why and options.level and whole:
            raise Refusal(surroundings.UNFIT, f"the {level} level cannot run here: {why}")
        compared = (
            found["gpus"][0]["capability"] if level == "gpu" and options.compare_ptx_jit and not why else ""
        )
        books, workers = none if level == "gpu" else ledger, _workers(level, found)
        trial = Trial(
            kit, folder, level, environment, options.only, compared, books, workers, options.durations
        )
        run, uninterrupted = course.run(trial, why=why)
        whole = whole and uninterrupted
        runs.append({**run, "surroundings": {**_known(found), "outside": outside, **_emulator()}})
    cases = [case for run in runs for case in run["cases"]]
    about = {name: wheel[name] for name in ("wheel", "sha256", "project", "version", "recipe", "target")}
    ended = verdict(cases)
    if not whole and ended == "nothing ran":
        raise KeyboardInterrupt
    if ended == "nothing ran":
        say(ended)
    ok, only = whole and ended == "passed", options.only + ("" if whole else CUT)
    report = {"schema": 1, **about, "kit": kit.digest, "ok": ok, "only": only, "runs": runs}
    return {**report, "digest": digest(report)}, ledger.kept


def _found(environment: Mapping[str, str], requires: list[str], ledger: Ledger) -> Table:
    """Return what is there, as it was found before if nothing has changed; a GPU and its driver are always asked."""
    before = ledger.take(PROBE)
    if before:
        return dict(before["found"])
    found = surroundings.probe(environment, requires)
    reads = FRESH._replace(files=frozenset(found.pop("read")))
    if not found["driver_cuda"]:
        ledger.keep(PROBE, {"outcome": "passed", "seconds": 0.0, "found": found}, reads)
    return found


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


def _workers(level: str, found: Table) -> int:
    """Return how many processes run cases at a time: as many as there are cores, and as a GPU has room for.

    The first in a process imports torch and makes itself known to the driver, which takes seconds of one core.
    """
    cores = os.cpu_count() or 1
    if level != "gpu":
        return cores
    room = min((gpu["free"] // _ROOM for gpu in found["gpus"]), default=1)
    return int(max(1, min(cores, room, _BESIDE)))


def _emulator() -> Table:
    told = os.environ.get("RETREAD_EMULATOR", "")
    return {"emulator": told} if told else {}


def _known(found: Table) -> Table:
    return {name: value for name, value in found.items() if name != "busy"}


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


def _write(path: str, report: Table, kept: Table | None) -> None:
    """Write the report, and on a line of its own what a retread that asked for it keeps."""
    text = json.dumps(report, indent=1) + "\n" + ("" if kept is None else json.dumps(kept) + "\n")
    if path == "-":
        sys.stdout.write(text)
        return
    partial = f"{path}.partial"
    with open(partial, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(partial, path)
