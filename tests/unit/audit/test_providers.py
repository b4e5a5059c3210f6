"""Providers: every library that is needed comes from somebody, whatever torch of the range there is, or is named."""

from __future__ import annotations

import pytest
from auditwheel.architecture import Architecture
from auditwheel.libc import Libc
from auditwheel.policy import WheelPolicies

from retread.audit import providers
from retread.elf.facts import LibraryFacts
from retread.records import Sha256
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise

LIB, FA3 = "demo/_C.so", "demo/flash_attn_3/_C.so"
RUNTIME = "$ORIGIN/../nvidia/cuda_runtime/lib"


def library(*needed: str, run_path: tuple[str, ...] = ()) -> LibraryFacts:
    return LibraryFacts(
        machine="x86_64", needed=needed, run_path=run_path, versions=(), undefined=(), modules=()
    )


def promise(torch: str) -> Promise:
    return Promise(
        project="demo", version="1.2+cu128.1", cuda="12.8", torch=torch, architectures=(), ptx=(), exempt=(),
        requires=(), run_path={}, note="",
    )  # fmt: skip


def told(
    *needed: str,
    torch: str | None = "==2.9.1",
    requires: tuple[str, ...] = (),
    run_path: tuple[str, ...] = (),
    member: str = LIB,
    also: tuple[str, ...] = (),
    promised: bool = True,
) -> tuple[bool, str]:
    """Return whether the check of a library holds, and its words."""
    asked = () if torch is None else (f"torch{torch}",)
    wheel = WheelFacts(
        file="demo.whl",
        sha256=Sha256(64 * "a"),
        size=1,
        project="demo",
        version="1.2+cu128.1",
        tags=("cp39-abi3-manylinux_2_28_x86_64",),
        requires=(*asked, *requires),
        members=9,
        libraries={member: library(*needed, run_path=run_path), **{one: library() for one in also}},
        statement=None,
    )
    found = list(providers.checks(wheel, promise(torch or "") if promised else None))
    assert [one.check for one in found] == ["providers"] * len(wheel.libraries)
    return next((one.ok, one.detail) for one in found if one.subject == member)


def test_everybody_is_named_with_what_comes_from_him() -> None:
    ok, said = told(
        "libc10.so", "libtorch_cuda.so", "libcudart.so.12", "libcuda.so.1", "libc.so.6", "ld-linux-x86-64.so.2",
        "libhelp-1a2b.so.1", torch=">=2.10", requires=("numpy", "nvidia-cuda-runtime-cu12>=12.8"),
        run_path=(RUNTIME, "$ORIGIN/../demo.libs"), also=("demo.libs/libhelp-1a2b.so.1",),
    )  # fmt: skip
    assert (ok, said.split("; ")) == (
        True,
        [
            "torch: libc10.so libtorch_cuda.so",
            "nvidia-cuda-runtime-cu12 by run path: libcudart.so.12",
            "NVIDIA's driver: libcuda.so.1",
            "the system: libc.so.6 ld-linux-x86-64.so.2",
            "the wheel by run path: libhelp-1a2b.so.1",
        ],
    )
    assert told() == (True, "needs no library")


@pytest.mark.parametrize(
    ("torch", "needed", "why"),
    [
        ("==2.9.1", "libcudart.so.12", ""),
        ("==2.6.0", "libcudart.so.12", ""),
        (">=2.3,<2.11", "libcublasLt.so.12", ""),
        ("==2.8.0", "libcudart.so.13", "torch 2.8.0 is for CUDA 12"),
        (">=2.10", "libcudart.so.12", "torch 2.11.0 is for CUDA 13"),
        (">=2.11", "libcudart.so.13", ""),
        (">=2.11", "libcufft.so.12", ""),
        (">=2.8,!=2.11.*", "libcudart.so.12", "torch 2.12.0 is for CUDA 13"),
        ("==2.9.1+cu130", "libcudart.so.12", "torch 2.9.1+cu130 is for CUDA 13"),
        ("==2.9.1+cu130", "libcudart.so.13", ""),
        ("==2.9.1+cpu", "libcudart.so.12", "torch 2.9.1+cpu is for no CUDA"),
        ("==2.9.9", "libcudart.so.12", ""),
        (">=2.3", "libcudnn.so.9", "torch 2.3 does not have it yet"),
        ("~=2.9.0", "libcudnn.so.9", ""),
        (">=99", "libcudart.so.13", ""),
        (">99", "libcudart.so.13", "no torch>99 is known"),
    ],
)
def test_cuda_s_libraries_come_with_torch_if_all_its_range_has_them(
    torch: str, needed: str, why: str
) -> None:
    want = (False, f"nothing provides {needed} ({why})") if why else (True, f"torch: {needed}")
    assert told(needed, torch=torch) == want


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("sys_platform == 'linux'", True), ("platform_machine == 'x86_64' and os_name == 'posix'", True),
        ("python_version >= '3.13'", True), ("implementation_name == 'cpython'", True),
        ("sys_platform == 'win32'", False), ("platform_machine == 'aarch64'", False), ("python_version < '3'", False),
    ],
)  # fmt: skip
def test_torch_provides_nothing_where_its_condition_never_holds(condition: str, holds: bool) -> None:
    ok, said = told("libc10.so", torch=None, requires=(f"torch==2.9.1; {condition}",), promised=False)
    assert (ok, said) == (
        (True, "torch: libc10.so") if holds else (False, "nothing provides libc10.so (torch is not required)")
    )


@pytest.mark.parametrize(
    ("requires", "run_path"),
    [
        ((), (RUNTIME,)),
        (("nvidia-cuda-runtime-cu12",), ()),
        (("nvidia-cuda-runtime-cu11",), (RUNTIME,)),
        (("nvidia-cuda-runtime",), (RUNTIME,)),
        (("nvidia-cublas-cu12",), (RUNTIME,)),
        (('nvidia-cuda-runtime-cu12; extra == "cuda"',), (RUNTIME,)),
        (("nvidia-cuda-runtime-cu12",), ("$ORIGIN/../../nvidia/cuda_runtime/lib",)),
        (("nvidia-cuda-runtime-cu12",), ("$ORIGIN/../nvidia/cublas/lib",)),
        (("nvidia-cuda-runtime-cu12",), ("/usr/local/nvidia/cuda_runtime/lib",)),
    ],
    ids=["not required", "no run path", "other CUDA", "no CUDA", "other package", "extra", "deep", "folder", "root"],
)  # fmt: skip
def test_a_package_provides_only_what_is_required_and_found(
    requires: tuple[str, ...], run_path: tuple[str, ...]
) -> None:
    assert told("libcudart.so.12", torch=">=2.10", requires=requires, run_path=run_path) == (
        False,
        "nothing provides libcudart.so.12 (torch 2.11.0 is for CUDA 13)",
    )


@pytest.mark.parametrize(
    ("member", "needed", "requires", "run_path", "provider"),
    [
        (LIB, "libcudart.so.12", "nvidia_cuda.runtime-cu12", RUNTIME, "nvidia-cuda-runtime-cu12"),
        (FA3, "libcudart.so.12", "nvidia-cuda-runtime-cu12",
         "${ORIGIN}/../../nvidia/cuda_runtime/lib/", "nvidia-cuda-runtime-cu12"),
        (LIB, "libcudart.so.13", "nvidia-cuda-runtime", "$ORIGIN/../nvidia/cu13/lib", "nvidia-cuda-runtime"),
        (LIB, "libcudnn.so.9", "nvidia-cudnn-cu13", "$ORIGIN/../nvidia/cudnn/lib", "nvidia-cudnn-cu13"),
        (LIB, "libhelp.so.3", "some-help>=3", "$ORIGIN/../some_help/lib", "some-help"),
    ],
)  # fmt: skip
def test_a_required_package_in_the_run_path(
    member: str, needed: str, requires: str, run_path: str, provider: str
) -> None:
    found = told(needed, torch=">=2.1", requires=(requires,), run_path=(run_path,), member=member)
    assert found == (True, f"{provider} by run path: {needed}")


def test_nobody_is_named_and_all_at_once() -> None:
    assert told("libfoo.so.1", "libcudart.so.13", "libc.so.6") == (
        False,
        "nothing provides libfoo.so.1, libcudart.so.13 (torch 2.9.1 is for CUDA 12)",
    )
    assert told("libc10.so", torch=None) == (False, "nothing provides libc10.so (torch is not required)")


def test_a_library_of_the_wheel_itself() -> None:
    there = ("demo/lib/libhelp.so",)
    assert told("libhelp.so", also=there, run_path=("$ORIGIN/lib",)) == (
        True,
        "the wheel by run path: libhelp.so",
    )
    assert told("libhelp.so", also=there) == (True, "the wheel, once it is loaded: libhelp.so")


def test_a_wheel_without_a_promise_is_not_held_to_what_it_does_not_say() -> None:
    assert told("libcudart.so.12", torch=">=2.10", promised=False) == (
        True,
        "torch, but not 2.11.0: libcudart.so.12",
    )
    assert told("libQt6Core.so.6", torch=None, requires=("pyside6-essentials",), promised=False) == (
        True,
        "not known, perhaps pyside6-essentials: libQt6Core.so.6",
    )
    assert told("libfoo.so.1", torch=None, promised=False) == (False, "nothing provides libfoo.so.1")
    assert told("libc10.so", torch="", promised=False) == (True, "torch: libc10.so")


def test_the_system_has_what_the_policies_allow() -> None:
    policies = WheelPolicies(libc=Libc.GLIBC, arch=Architecture.x86_64)
    for policy in policies:
        if policy.name.startswith("manylinux_"):
            assert policy.whitelist - {"libcrypt.so.1", "libpcprofile.so"} <= providers.SYSTEM, policy.name
    newest = max(
        (one for one in policies if one.name.startswith("manylinux_")), key=lambda one: one.priority * -1
    )
    assert providers.SYSTEM - newest.whitelist == frozenset()
