"""The same PTX by two compilers: a wheel's machine code against what the driver makes of the PTX beside it.

The cases of the gpu level run natively twice, and once from a copy of the wheel in which the driver finds PTX alone.
What two native runs tell differently is not deterministic; all else has to be the same, bit by bit.

CUDA_FORCE_PTX_JIT=1 is not used: it holds for the whole process, and torch has PTX for its newest GPU alone, so that on
any other one torch's own kernels are gone with it.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retread import arch
from retread.smoke.runtime import crew, fatbins
from retread.smoke.runtime.place import Folder
from retread.smoke.runtime.runner import Suite, Table

SUITE, CONTROL = "ptx", "native"
"""What the cases of a comparison are called, and the suite that says whether machine code is hidden."""
PATIENCE = 10
"""So many times a case's limit it may take: the driver's compiler works within it."""
KINDS = (fatbins.MACHINE, fatbins.PTX)
FROM_PTX = "FromPtx"
"""The kind of fault where native code and PTX tell different things, and not two native runs."""
FOREIGN = "but upstream compiled its machine code for this GPU from other PTX than lies beside it"
_NATIVE = "CUDA_DISABLE_PTX_JIT"


def portable(folder: Folder, libraries: Iterable[str], capability: str) -> tuple[str, dict[str, bool]]:
    """Copy the installed wheels, and return where to, with the libraries in which machine code is hidden.

    Behind each stands whether its machine code was made of other PTX. A module without PTX for the GPU stays as it is.
    """
    major, minor = (int(word) for word in capability.split("."))
    grafted = _grafted(folder.site, capability)
    site = os.path.join(folder.root, "portable")
    shutil.copytree(folder.site, site, copy_function=os.link)
    hidden = {}
    for library in libraries:
        path = fatbins.place(site, library)
        with open(path, "rb") as stream:
            data = bytearray(stream.read())
        foreign = library not in grafted and not _is_of_its_ptx(data, (major, minor))
        if fatbins.hide(data, (major, minor)):
            os.unlink(path)  # and with it the link to the installed one
            with open(path, "wb") as stream:
                stream.write(data)
            hidden[library] = foreign
    return site, hidden


def _grafted(site: str, capability: str) -> set[str]:
    """Return the libraries whose code for a GPU retread assembled from the PTX in them, as the wheel says."""
    found: set[str] = set()
    for path in glob.glob(os.path.join(glob.escape(site), "*.dist-info", "retread.json")):
        with open(path, encoding="utf-8") as stream:
            libraries = json.load(stream)["libraries"]
        for name, said in libraries.items():
            serving = [one for one in said["after"] if arch.runs(arch.parse(one), arch.parse(capability))]
            best = max(serving, key=lambda one: arch.parts(arch.parse(one))[:2], default="")
            found |= {name} if best and best not in said["before"] else set()
    return found


def _is_of_its_ptx(data: bytearray, capability: tuple[int, int]) -> bool:
    """Say whether each module's machine code for a GPU has the number of the PTX that the driver would take."""
    for one in fatbins.modules(data):
        own = [
            max((i.sm for i in one.images if i.kind == kind and i.serves(capability)), default=0)
            for kind in KINDS
        ]
        if all(own) and own[0] != own[1]:
            return False
    return True


def chosen(listed: Sequence[Table], libraries: Iterable[str]) -> list[Table]:
    """Return the cases that are compared: those that call into a library of these, and allow the driver's compiler.

    What only measures times (``speed/``) computes nothing that could be.
    """
    wanted = set(libraries)
    return [
        one
        for one in listed
        if wanted & set(one["libraries"])
        and one["env"].get(_NATIVE) != "1"
        and not one["case"].startswith("speed/")
    ]


def again(suite: Suite, cases: Sequence[Table], *, patience: int = 1) -> dict[str, Table]:
    """Run cases once more, each with ``patience`` times its limit, and return what became of each."""
    found: list[Table] = []
    wanted = [{**one, "limit": one["limit"] * patience} for one in cases]
    crew.run(crew.plan([crew.Work(suite, wanted, found.append)], 1, split=False), 1)
    return {one["id"]: one for one in found}


def compared(
    first: Mapping[str, Table],
    second: Mapping[str, Table],
    made: Mapping[str, Table],
    hidden: Mapping[str, bool],
) -> list[Table]:
    """Return a case for each that ran natively twice, and of PTX once; ``hidden`` is what ``portable`` found."""
    found = []
    for name, one in made.items():
        case = _compared(first[name], second[name], one)
        if (
            case["fault"]
            and case["fault"]["type"] == FROM_PTX
            and any(hidden.get(name) for name in one["libraries"])
        ):
            case |= {"outcome": "passed", "reason": "", "note": f"{case['reason']}; {FOREIGN}", "fault": None}
        found.append(case)
    return found


def _compared(first: Table, second: Table, made: Table) -> Table:
    outcomes = [one["outcome"] for one in (first, second, made)]
    seconds = made["seconds"]
    if outcomes[0] == outcomes[2] != "passed":
        return case(first["id"], outcome="skipped", seconds=seconds, reason=f"both ways: {first['reason']}")
    if outcomes[0] != outcomes[1]:
        why = f"two native runs end differently: {outcomes[0]} and {outcomes[1]}"
        return case(first["id"], outcome="failed", seconds=seconds, reason=why)
    if outcomes[0] != outcomes[2]:
        why = f"{outcomes[0]} natively, {outcomes[2]} from PTX: {made['reason'] or first['reason']}"
        return case(first["id"], outcome="failed", seconds=seconds, reason=why, kind=FROM_PTX)
    return _bits(first["id"], first["digests"], second["digests"], made["digests"], seconds)


def _bits(
    name: str, first: Mapping[str, str], second: Mapping[str, str], made: Mapping[str, str], seconds: float
) -> Table:
    """Return the case for what two native runs and one from PTX computed."""
    steady = [one for one in first if first[one] == second.get(one)]
    other = [one for one in steady if first[one] != made.get(one)]
    other += sorted(made.keys() - first.keys())
    numbers = {"outputs": len(first), "deterministic": len(steady), "same bits": len(steady) - len(other)}
    unsteady = ", ".join(one for one in first if one not in steady)
    note = f"not deterministic, so not compared: {unsteady}" if unsteady else ""
    note = note or ("" if first else "it records no output: what is compared is that it passes")
    if other:
        why = f"other bits from PTX than natively: {', '.join(other)}"
        return case(
            name, outcome="failed", seconds=seconds, reason=why, numbers=numbers, note=note, kind=FROM_PTX
        )
    return case(name, outcome="passed", seconds=seconds, numbers=numbers, note=note)


def case(
    name: str,
    *,
    outcome: str,
    seconds: float = 0.0,
    reason: str = "",
    note: str = "",
    numbers: Mapping[str, Any] | None = None,
    kind: str = "Differs",
) -> Table:
    """Return a case of this comparison as a report has it."""
    fault = {"type": kind, "message": reason, "where": "", "kernel": "", "stack": ""}
    return {
        "id": f"{SUITE}/{name}", "suite": SUITE, "outcome": outcome, "seconds": seconds, "reason": reason, "note": note,
        "numbers": dict(numbers or {}), "libraries": [], "fault": fault if outcome == "failed" else None, "again": None,
        "digests": {},
    }  # fmt: skip
