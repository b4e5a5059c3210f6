"""How one level of a kit runs: its suites, what became of their cases, and what of them was known before."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from retread.smoke.runtime import crew, ptx
from retread.smoke.runtime.ledger import Ledger
from retread.smoke.runtime.place import Folder, Kit
from retread.smoke.runtime.runner import AGAIN, Suite, Table, matching

STOPPED = "the test was interrupted"


class Trial(NamedTuple):
    """One level of a kit, as it is to be run."""

    kit: Kit
    folder: Folder
    level: str
    environment: Mapping[str, str]
    only: str
    compared: str
    """The capability of the GPU on which native code and PTX are compared; empty where they are not."""
    ledger: Ledger
    workers: int
    """How many processes run cases at a time."""
    durations: bool
    """Whether cases say where their seconds go."""

    def suites(self, site: str, **more: str) -> Iterator[Suite]:
        """Yield every suite, told that the wheel lies in ``site``; ``more`` are variables that differ."""
        folder, named = self.folder, os.path.basename(site)
        said = {**self.kit.manifest, "site": site, "scripts": folder.scripts, "level": self.level}
        said |= {
            "record": bool(self.compared),
            "portable": site != folder.site,
            "witness": bool(self.ledger),
            "durations": self.durations,
        }
        path = os.path.join(folder.root, f"{self.level}-{named}.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(said, stream)
        environment = {**self.environment, **more, "RETREAD_SMOKE": path}
        before = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(site if one == folder.site else one for one in before)
        for name in self.kit.manifest["suites"]:
            yield Suite(os.path.join(folder.suites, name), environment, folder.empty["cwd"])


class Tried(NamedTuple):
    """A suite, the cases of it that were asked for, what became of them, and which are left."""

    suite: Suite
    wanted: Mapping[str, Table]
    done: list[Table]
    left: Sequence[Table]
    ends: list[float]
    """When each of those that were run ended, by a clock that only goes on."""


def run(trial: Trial, *, why: str) -> tuple[Table, bool]:
    """Run one level of every suite; return its table, without the surroundings, and whether nobody interrupted it."""
    began, clock = int(time.time()), time.monotonic()
    cases: list[Table] = []
    libraries = trial.kit.manifest["libraries"]
    whole = True
    try:
        if why:
            say(f"{trial.level}: not run: {why}")
        else:
            _cases(trial, cases)
    except KeyboardInterrupt:
        whole = False
    for one in cases:
        one.pop("digests", None)
        one.pop("reads", None)
    touched = {library for case in cases if case["outcome"] != "skipped" for library in case["libraries"]}
    untouched = [name for name in libraries if name not in touched]
    seconds = round(time.monotonic() - clock, 2)
    table = {
        "level": trial.level, "started": began, "seconds": seconds, "cases": cases, "untouched": untouched,
        "unable": why,
    }  # fmt: skip
    return table, whole


def _cases(trial: Trial, cases: list[Table]) -> None:
    """Run a level of every suite, and add to ``cases`` what became of each, also when it is interrupted."""
    suites = [*trial.suites(trial.folder.site)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        tried = [*pool.map(functools.partial(_listed, trial), suites)]
    _try(trial, tried, cases)
    cases += _against_ptx(trial, tried) if trial.compared else []
    if trial.level == "static" and trial.only == "*":
        cases.append(_undisturbed(trial.folder))
        say(f"{trial.level}: {cases[-1]['id']}: {_counted(cases[-1:])}")


def _against_ptx(trial: Trial, tried: Sequence[Tried]) -> list[Table]:
    """Run cases natively once more and then from PTX alone, and return what the comparison finds."""
    found: list[Table] = []
    site, hidden = ptx.portable(trial.folder, trial.kit.manifest["libraries"], trial.compared)
    if not hidden:
        found = [
            ptx.case("wheel", outcome="skipped", reason="no module has PTX for this GPU beside machine code")
        ]
        say(f"{trial.level}: {found[0]['id']}: {_counted(found)}")
        return found
    cache = trial.environment["CUDA_CACHE_PATH"] + "-ptx"
    for one, other in zip(tried, trial.suites(site, CUDA_CACHE_PATH=cache)):  # noqa: B905 - 3.9 knows no strict
        more = _hidden(other) if one.suite.name == ptx.CONTROL else []
        cases = ptx.chosen([*one.wanted.values()], hidden)
        if cases:
            first = {case["id"]: case for case in one.done}
            second = ptx.again(one.suite, cases)
            made = ptx.again(other, cases, patience=ptx.PATIENCE)
            more += ptx.compared(first, second, made, hidden)
        if more:
            say(f"ptx: {one.suite.name}: {_counted(more)}")
        found += more
    return found


def _hidden(suite: Suite) -> list[Table]:
    """Return the cases that hold when the driver finds no machine code where it was hidden."""
    listed, failed = suite.cases("gpu")
    cases = matching(listed, "native/hidden/*")
    return [failed] if failed else list(ptx.again(suite, cases).values())


def _listed(trial: Trial, suite: Suite) -> Tried:
    """Return a suite with the cases that were asked for; what the ledger knows of them is done."""
    listed, failed = suite.cases(trial.level)
    wanted = {one["case"]: one for one in matching(listed, trial.only)}
    known = {name: found for name in wanted if (found := trial.ledger.take(f"{suite.name}:{name}"))}
    done = [*([failed] if failed else []), *known.values()]
    return Tried(suite, wanted, done, [one for name, one in wanted.items() if name not in known], [])


def _try(trial: Trial, group: Sequence[Tried], cases: list[Table]) -> None:
    """Run what is left of some suites, and add to ``cases`` what became of all of theirs, also when interrupted."""
    clock = time.monotonic()
    split = trial.level == "jit"
    work = [
        crew.Work(one.suite, one.left, _telling(one), trial.ledger.seconds(one.suite.name)) for one in group
    ]
    try:
        crew.run(crew.plan(work, trial.workers, split=split), trial.workers)
        for one in group if trial.level == "gpu" else ():
            _again(one)
    except KeyboardInterrupt:
        for one in group:
            ended = {case["id"] for case in one.done}
            one.done.extend(one.suite.untried(name, STOPPED) for name in one.wanted if name not in ended)
        raise
    finally:
        for one in group:
            _finished(trial, one, max(one.ends, default=clock) - clock)
            cases += one.done


def _again(tried: Tried) -> None:
    """Say which cases failed alike, and run those alone that failed, one for each reason."""
    failed_for = {one["reason"]: one for one in reversed(_failed(tried.done)) if one["id"] in tried.wanted}
    for one in [*failed_for.values()][-AGAIN:]:
        tried.suite.again(tried.wanted[one["id"]], one)


def _finished(trial: Trial, tried: Tried, seconds: float) -> None:
    """Bring the results of a suite into their order and form, say how many there are, and keep them."""
    suite, done = tried.suite, tried.done
    for name, count in _more(done).items():
        say(f"  failed: {count} more as {name}")
    for one in done:
        one["libraries"] = [
            known for name in one["libraries"] if (known := _library(name, trial.kit.manifest["libraries"]))
        ]
        one.update(_placeless(one, os.path.dirname(suite.folder)))
        reads = one.pop("reads", None)
        if reads and "taken" not in one:
            kept = {name: value for name, value in one.items() if name != "digests"}
            trial.ledger.keep(f"{suite.name}:{one['id']}", kept, reads)
    order = {name: index for index, name in enumerate(tried.wanted)}
    done.sort(key=lambda one: order.get(one["id"], -1))
    for name in tried.wanted:
        if f"{suite.name}:{name}" in trial.ledger.refused:
            say(f"  tried again: {name}: what the store had of it was damaged")
    if done:
        say(f"{trial.level}: {suite.name}: {_counted(done)}  {seconds:.1f} s")


def _counted(done: Sequence[Table]) -> str:
    """Return how many cases ended how."""
    counts = {what: sum(one["outcome"] == what for one in done) for what in ("passed", "failed", "skipped")}
    words = [f"{number} {what}" for what, number in counts.items() if number]
    taken = sum("taken" in one for one in done)
    return ", ".join(words) + (f"; {taken} of {len(done)} taken from the store" if taken else "")


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


def _telling(tried: Tried) -> Callable[[Table], None]:
    """Return what keeps each result, and says each failure at once that is not for a reason of one before."""

    def ended(one: Table) -> None:
        reasons = {nameless(other["id"], other["reason"]) for other in _failed(tried.done)}
        tried.done.append(one)
        tried.ends.append(time.monotonic())
        if one["outcome"] == "failed" and nameless(one["id"], one["reason"]) not in reasons:
            say(f"  failed: {one['id']}: {one['reason']}")

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


def say(text: str) -> None:
    """Tell whoever started the kit."""
    with suppress(OSError):  # whoever listened has gone; the report is what counts
        print(text, file=sys.stderr, flush=True)
