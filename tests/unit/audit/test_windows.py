"""Audits of wheels for Windows: whose system a library is for, and who has what it imports."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.audit import rules
from retread.audit.report import Check
from retread.elf.facts import Format, LibraryFacts, Module
from retread.records import Sha256
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise

LIB = "demo/_C.pyd"
NEEDED = ("torch_cuda.dll", "cudart64_12.dll", "MSVCP140.dll", "KERNEL32.dll", "api-ms-win-crt-heap-l1-1-0.dll",
          "VCRUNTIME140_1.dll", "python3.dll", "nvcuda.dll", "own.dll")  # fmt: skip


def library(**changes: Any) -> LibraryFacts:
    module = Module(index=0, sass=(Arch("8.0"),), ptx=(Arch("8.0"),))
    found = LibraryFacts(
        machine="x86_64", needed=NEEDED, run_path=(), versions=(), undefined=(), modules=(module,), format=Format.PE
    )  # fmt: skip
    return replace(found, **changes)


def wheel(
    tag: str = "win_amd64", requires: tuple[str, ...] = ("torch>=2.10",), **libraries: Any
) -> WheelFacts:
    own = library(needed=())
    return WheelFacts(
        file=f"demo-1.2-cp39-abi3-{tag}.whl", sha256=Sha256(64 * "a"), size=1000, project="demo", version="1.2",
        tags=(f"cp39-abi3-{tag}",), requires=requires, members=79, statement=None,
        libraries={LIB: library(**libraries), "demo/Own.DLL": own},
    )  # fmt: skip


def promise(cuda: str) -> Promise:
    return Promise(
        project="demo", version="1.2", cuda=cuda, torch=">=2.10", architectures=(), ptx=(), exempt=(), requires=(),
        run_path={}, note="",
    )  # fmt: skip


def failed(checks: tuple[Check, ...]) -> list[tuple[str, str, str]]:
    return [(one.check, one.subject, one.detail) for one in checks if not one.ok]


def test_who_has_each_dll_is_told_and_that_torch_of_the_index_has_none() -> None:
    checks = rules.audit(wheel(), promise("12.8"))
    assert failed(checks) == []
    told = next(one.detail for one in checks if (one.check, one.subject) == ("providers", LIB))
    assert told == (
        "torch for CUDA 12, not the package index's, which is for CPU alone: torch_cuda.dll cudart64_12.dll; "
        "Microsoft's C++ runtime: MSVCP140.dll; Windows: KERNEL32.dll api-ms-win-crt-heap-l1-1-0.dll; "
        "Python: VCRUNTIME140_1.dll python3.dll; NVIDIA's driver: nvcuda.dll; the wheel, beside it: own.dll"
    )


@pytest.mark.parametrize(
    ("needed", "requires", "cuda", "fault"),
    [
        (
            "cudart64_12.dll",
            ("torch",),
            "13.0",
            "cudart64_12.dll (it is CUDA 12's, and the wheel is for CUDA 13)",
        ),
        ("cudart64_12.dll", ("numpy",), "12.8", "cudart64_12.dll (torch is not required)"),
        ("gone.dll", ("torch",), "12.8", "gone.dll"),
        (
            "cufft64_12.dll",
            ("torch",),
            "12.8",
            "cufft64_12.dll (it is CUDA 13's, and the wheel is for CUDA 12)",
        ),
        ("curand64_10.dll", ("torch",), "13.0", None),
    ],
)
def test_a_dll_that_nobody_has_fails(
    needed: str, requires: tuple[str, ...], cuda: str, fault: str | None
) -> None:
    found = failed(
        rules.audit(wheel(requires=("torch>=2.10", *requires)[-1:], needed=(needed,)), promise(cuda))
    )
    wanted = [("providers", LIB, f"nothing provides {fault}")] if fault else []
    assert [one for one in found if one[0] == "providers"] == wanted


@pytest.mark.parametrize(
    ("tag", "changes", "fault"),
    [
        ("win_amd64", {"machine": "aarch64"}, "Windows, aarch64, tags win_amd64"),
        ("win_amd64", {"machine": "i686"}, "Windows, i686, tags win_amd64"),
        ("win_arm64", {"machine": "x86_64"}, "Windows, x86_64, tags win_arm64"),
        ("win_amd64", {"format": Format.ELF, "needed": ()}, "x86_64, tags win_amd64"),
        ("manylinux_2_28_x86_64", {}, None),
    ],
)
def test_a_library_of_another_system_fails_where_it_would_be_loaded(
    tag: str, changes: dict[str, Any], fault: str | None
) -> None:
    """In a wheel for Linux a library of Windows is data."""
    found = [one for one in failed(rules.audit(wheel(tag, **changes), None)) if one[:2] == ("machine", LIB)]
    assert found == ([("machine", LIB, fault)] if fault else [])
