"""What kernels take, beside those of another wheel, and the line that a user reads of one that spills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.audit import audit, resources
from retread.audit.report import AuditReport, Check
from retread.audit.resources import ResourceReport
from retread.cli import usage
from retread.elf import kernels
from retread.elf.kernels import Kernel
from retread.errors import AuditError
from retread.records import Sha256

LIB = "demo/_C.so"
DATA = Path(__file__).parents[2] / "data" / "kernels"
SM90 = tuple(
    kernels.of_cubin((DATA / "kernels.sm_90a.cubin").read_bytes(), Arch("9.0a"), where="kernels.sm_90a")
)


def kernel(name: str = "_Z4plainPf", **facts: Any) -> Kernel:
    found = Kernel(
        name=name, architecture=Arch("9.0a"), module=0, called=False, registers=32, stack=0, shared=0,
        instructions=100, telling={},
    )  # fmt: skip
    return replace(found, **facts)


def report(*found: Kernel, others: tuple[Kernel, ...] = ()) -> ResourceReport:
    more: dict[str, Any] = {"beside": "official.whl", "others": {LIB: others}} if others else {}
    return resources.report("demo.whl", Sha256(64 * "a"), {LIB: found}, **more)


def test_a_kernel_for_the_matrix_units_that_spills_is_refused_with_all_that_helps() -> None:
    with pytest.raises(AuditError) as caught:
        resources.demand(report(*SM90))
    assert str(caught.value) == (
        "demo.whl: 1 kernel with GMMA, tcgen05 or TMA and local memory\n"
        "  - demo/_C.so: sm_90a: 64 bytes of stack, with HGMMA UTMALDG UTMASTG: spills (spills)\n"
        "  next: have ptxas say more (--ptxas-options=-v). Often a parameter that is passed by value is copied (make it"
        " '__grid_constant__ const'), a local array is indexed by a loop that is not unrolled, or a register limit"
        " (__launch_bounds__, -maxrregcount) is too low"
    )
    assert caught.value.exit_code == 12


def test_local_memory_of_any_other_kernel_is_no_fault() -> None:
    found = report(
        kernel(stack=1264, telling={"HMMA": 4, "LDSM": 2, "LDGSTS": 1, "UBLKCP": 1}), kernel("other")
    )
    assert found.ok
    resources.demand(found)


def test_the_worst_is_told_first_and_a_long_name_is_cut() -> None:
    few, many = (kernel(f"_Z{size}{'k' * size}v", stack=size, telling={"UTMALDG": 1}) for size in (8, 400))
    with pytest.raises(AuditError) as caught:
        resources.demand(report(few, many))
    assert "2 kernels" in caught.value.message
    first, second = caught.value.faults
    assert ": sm_90a: 400 bytes of stack, with UTMALDG: kkk" in first
    assert first.endswith(f"(_Z400{'k' * 195})")
    assert second.endswith("8 bytes of stack, with UTMALDG: kkkkkkkk (_Z8kkkkkkkkv)")


@pytest.mark.parametrize(("stack", "ok"), [(40, True), (48, True), (32, False), (0, False)])
def test_where_the_other_wheel_spills_as_much_no_compiler_is_to_blame(stack: int, ok: bool) -> None:
    ours, theirs = (kernel("f", stack=size, telling={"HGMMA": 8}) for size in (40, stack))
    found = report(ours, others=(theirs,))
    assert found.ok == ok
    if not ok:
        with pytest.raises(AuditError, match=f"40 bytes of stack, {stack} in the other wheel, with HGMMA: f"):
            resources.demand(found)


def test_the_audit_tells_every_library_with_gpu_code() -> None:
    found = {LIB: SM90, "demo/plain.so": (kernel(stack=8),), "demo/host.so": ()}
    assert list(resources.checks(found)) == [
        Check(
            check="spills", subject=LIB, ok=False,
            detail="1 of 3 kernels with GMMA, tcgen05 or TMA take local memory: sm_90a: 64 bytes of stack, with HGMMA"
            " UTMALDG UTMASTG: spills (spills)",
        ),
        Check(check="spills", subject="demo/plain.so", ok=True, detail="there is no kernel with GMMA, tcgen05 or TMA"),
    ]  # fmt: skip
    [good] = resources.checks({LIB: [one for one in SM90 if not one.spills]})
    assert (good.ok, good.detail) == (True, "2 kernels with GMMA, tcgen05 or TMA: no local memory")


# Which kernels are the same.


@pytest.mark.parametrize(
    ("clang", "nvcc"),
    [
        (
            "_ZN7cutlassL6KernelINS_4gemm4GemmEEEvNT_6ParamsE",
            "_ZN7cutlass6KernelINS_4gemm4GemmEEEvNT_6ParamsE",
        ),
        ("_ZN12_GLOBAL__N_11fIfEEvPT_", "_ZN46_GLOBAL__N__6545d977_9_matmul_cu_17a31ef3_27041fIfEEvPT_"),
        (
            "_ZN7sputnik12_GLOBAL__N_16KernelINS0_5StateEEEvv",
            "_ZN7sputnik40_GLOBAL__N__95056de9_8_sddmm_cu_76d5acb26KernelINS0_5StateEEEvv",
        ),
    ],
)
def test_a_kernel_is_found_whoever_compiled_it(clang: str, nvcc: str) -> None:
    assert resources.same_name(clang) == resources.same_name(nvcc)
    found = report(kernel(clang, stack=8), others=(kernel("_Z5otherv"), kernel(nvcc, registers=40)))
    [row] = found.kernels
    assert row.beside
    assert row.beside.registers == 40


def test_the_same_name_for_another_architecture_is_another_kernel() -> None:
    [row] = report(kernel(), others=(kernel(architecture=Arch("9.0")),)).kernels
    assert row.beside is None


def test_kernels_of_one_name_in_several_modules_stand_beside_their_like_in_order() -> None:
    ours = [kernel(module=number) for number in range(3)]
    theirs = (kernel(module=4, registers=50), kernel(module=7, registers=60))
    found = [row.beside and row.beside.registers for row in report(*ours, others=theirs).kernels]
    assert found == [50, 60, None]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("_ZN7cutlass13device_kernelINS_4gemm4GemmEEEvNT_6ParamsE", "cutlass::device_kernel"),
        ("_ZN12_GLOBAL__N_121sparse24_apply_kernelIfEEvv", "(anonymous)::sparse24_apply_kernel"),
        ("_Z10add_kernelPff", "add_kernel"),
        ("_ZL10add_kernelPff", "add_kernel"),
        ("add_one", "add_one"),
        ("_Z", "_Z"),
    ],
)
def test_a_short_name_is_what_the_source_says(name: str, shown: str) -> None:
    assert resources.short(name) == shown


# What is shown.


def test_the_table_shows_both_and_their_ratio() -> None:
    ours = (
        kernel("_ZN2at4fillEv", stack=1264, registers=56, telling={"LDL": 9}),
        kernel("_ZN2at4gemmEv", registers=168, telling={"HGMMA": 4, "UTMALDG": 2}),
    )
    theirs = (
        kernel("_ZN2at4fillEv", stack=16, registers=28, instructions=90),
        kernel("_ZN2at4gemmEv", registers=160, telling={"HGMMA": 5}),
    )
    assert usage.text(report(*ours, others=theirs)).splitlines() == [
        "demo.whl",
        "    library     code for  kernels  registers  with stack  most  GMMA or TMA  with stack",
        "    demo/_C.so  sm_90a          2        224           1  1264            1           0",
        "",
        "kernels that official.whl has, too: sums here / there",
        "    library     code for  kernels  registers          bytes of stack",
        "    demo/_C.so  sm_90a     2 of 2  224 / 188  x 1.19       1264 / 16  x 79.00",
        "",
        "kernels with GMMA, tcgen05 or TMA, all 1",
        "    kernel    code for  registers  stack  shared  instructions  of these",
        "    at::gemm  sm_90a    168 / 160  0 / 0   0 / 0     100 / 100  HGMMA 4/5 UTMALDG 2/0",
        "",
        "other kernels with more local memory, all 1",
        "    kernel    code for  registers      stack  shared  instructions  of these",
        "    at::fill  sm_90a      56 / 28  1264 / 16   0 / 0      100 / 90  LDL 9/0",
    ]


def test_the_table_of_one_wheel_shows_what_has_local_memory() -> None:
    old = kernel("old", architecture=Arch("6.0"), stack=8, instructions=None)
    found = usage.text(report(*SM90, *[replace(old, registers=number) for number in range(30)])).splitlines()
    assert "other kernels with local memory, 20 of 30" in found
    assert "    old     sm_60            29      8       0             -" in found
    assert usage.text(report()) == "demo.whl: no GPU code"


def test_a_wheel_that_has_none_of_the_kernels_is_said_so() -> None:
    found = usage.text(report(kernel(), others=(kernel("_Z5otherv"),)))
    assert "official.whl has none of these kernels for the same architecture" in found


@pytest.mark.parametrize(
    "name", [f"_ZN{'9' * 5000}_GLOBAL__N_1", f"_ZN{'0' * 9000}", "_ZN3\x1b[2J", "_ZNL", "L1"]
)
def test_a_name_that_makes_no_sense_is_a_name_all_the_same(name: str) -> None:
    [row] = report(kernel(name), others=(kernel(name),)).kernels
    assert row.beside
    bad = report(kernel(name, stack=8, telling={"HGMMA": 1}))
    assert "\x1b" not in usage.text(bad) + resources.told(bad.kernels[0])


@pytest.mark.parametrize(
    ("others", "hint"), [(True, "have ptxas say more"), (False, "'retread inspect' shows")]
)
def test_an_audit_that_fails_for_kernels_alone_says_what_to_try(others: bool, hint: str) -> None:
    checks = (
        *resources.checks({LIB: SM90}),
        Check(check="glibc", subject=LIB, ok=others, detail="is what it is"),
    )
    found = AuditReport(
        schema=1,
        wheel="demo.whl",
        sha256=Sha256(64 * "a"),
        size=1,
        target="demo cu128",
        ok=False,
        checks=checks,
    )
    with pytest.raises(AuditError) as caught:
        audit.demand(found)
    assert caught.value.faults[0].startswith(
        f"spills: {LIB}: 1 of 3 kernels with GMMA, tcgen05 or TMA take local"
    )
    assert caught.value.hint.startswith(hint)
