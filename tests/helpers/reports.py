"""Smoke reports as real runs leave them, and small parts to make others of."""

from __future__ import annotations

from typing import Any

from retread.records import Sha256
from retread.smoke.level import Level
from retread.smoke.report import SCHEMA, Case, Fault, Gpu, Outcome, Run, SmokeReport, Surroundings
from retread.smoke.tally import Verdict, tally

LIBRARIES = ("demo/_C.so", "demo/_C_flash.so", "demo/_C_unused.so")
GPU = Gpu(name="NVIDIA H200", capability="9.0", memory=150_110_011_392, free=149_500_000_000)
SURROUNDINGS = Surroundings(
    python="3.12.7",
    platform="linux-x86_64",
    torch="2.9.1",
    torch_cuda="12.8",
    triton="3.5.1",
    packages={"numpy": "2.3.4", "torch": "2.9.1"},
    driver="",
    driver_cuda="",
    gpus=(),
)
FAULT = Fault(
    type="RuntimeError",
    message="CUDA error: no kernel image is available for execution on the device\nCompile with ...",
    where="demo/ops/sparse24.py:88 in sparsify",
    kernel="demo::sparse24_sparsify",
    stack="Traceback (most recent call last):\n"
    '  File "demo/ops/sparse24.py", line 88, in sparsify\n    return op(x)\n'
    "RuntimeError: CUDA error: no kernel image is available for execution on the device\n",
)
AGAIN = Fault(
    type="AcceleratorError",
    message="CUDA error: an illegal memory access was encountered",
    where="demo/ops/sparse24.py:91 in sparsify",
    kernel="_meta_kernel",
    stack="Traceback (most recent call last):\nAcceleratorError: CUDA error: an illegal memory access\n",
)


def case(name: str, **changes: Any) -> Case:
    """Return a case that passed, unless told otherwise; its suite is the first part of its id."""
    fields = {"suite": name.partition("/")[0], "outcome": Outcome.PASSED, "seconds": 0.25}
    return Case(**{"id": name, **fields, **changes})


def failed(name: str, **changes: Any) -> Case:
    """Return a case that failed on the GPU, twice and in two ways."""
    fields = {
        "reason": "RuntimeError: CUDA error: no kernel image is available",
        "fault": FAULT,
        "again": AGAIN,
    }
    return case(name, outcome=Outcome.FAILED, **{**fields, **changes})


def skipped(name: str, reason: str, **changes: Any) -> Case:
    """Return a case that could not run."""
    return case(name, outcome=Outcome.SKIPPED, seconds=0.0, reason=reason, **changes)


def measured(name: str, error: Any, tolerance: Any = 0.01, **changes: Any) -> Case:
    """Return a case that measured how far a result was off."""
    return case(name, numbers={"error": error, "tolerance": tolerance}, **changes)


def run(*cases: Case, **changes: Any) -> Run:
    """Return a run on the GPU, unless told otherwise; untouched is what its cases leave."""
    touched = {name for one in cases for name in one.libraries}
    fields = {
        "level": Level.GPU,
        "started": 1_763_805_600,
        "seconds": 93.14,
        "surroundings": on_gpu(),
        "untouched": tuple(name for name in LIBRARIES if name not in touched),
    }
    return Run(cases=cases, **{**fields, **changes})


def surroundings(**changes: Any) -> Surroundings:
    """Return the surroundings of a machine without a GPU."""
    fields = {name: getattr(SURROUNDINGS, name) for name in SURROUNDINGS.__struct_fields__}
    return Surroundings(**{**fields, **changes})


def on_gpu(**changes: Any) -> Surroundings:
    """Return the surroundings of a machine with a GPU."""
    return surroundings(**{"gpus": (GPU,), "driver": "580.95.05", "driver_cuda": "13.0", **changes})


def report(*runs: Run, **changes: Any) -> SmokeReport:
    """Return a report of these runs; its digest is made up."""
    found = tally(one for made in runs for one in made.cases)
    fields = {
        "schema": SCHEMA,
        "wheel": "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl",
        "sha256": Sha256(64 * "a"),
        "project": "demo",
        "version": "1.2+cu128.1",
        "recipe": "demo-1.2",
        "target": "cu128",
        "kit": Sha256(64 * "b"),
        "ok": found.verdict is Verdict.PASSED,
        "digest": Sha256(64 * "c"),
    }
    return SmokeReport(runs=runs, **{**fields, **changes})


def sample() -> SmokeReport:
    """Return what a machine with an H200 found: static, two Tritons, and the GPU, where one case failed."""
    older = surroundings(torch="2.8.0", triton="3.4.0", outside="torch 2.8.0 is below >=2.9")
    return report(
        _static(),
        _jit(SURROUNDINGS),
        _jit(older),
        run(*_attention(), *_sparse(), *_speed(), started=1_763_805_700),
    )


def _static() -> Run:
    bare = surroundings(torch="", torch_cuda="", triton="", packages={})
    cases = [
        case("wheel/record"),
        case("wheel/imports/demo", libraries=("demo/_C.so",)),
        case("wheel/needed"),
    ]
    return run(*cases, level=Level.STATIC, seconds=1.9, surroundings=bare)


def _jit(around: Surroundings) -> Run:
    cases = [
        case(f"kernels/{kernel}/sm_{arch}", seconds=1.5, numbers={"architecture": f"{arch[:-1]}.{arch[-1]}"})
        for kernel in ("rope", "splitk", "rmsnorm")
        for arch in ("80", "90", "100", "120")
    ]
    cases.append(skipped("kernels/tma/sm_80", "sm_80 has no tensor memory accelerator"))
    return run(*cases, level=Level.JIT, seconds=41.2, surroundings=around)


def _attention() -> list[Case]:
    cases = [
        measured(
            f"attention/{operator}/{direction}/{dtype}/{length}",
            tolerance * (place * 37 % 83 + 1) / 100,
            tolerance,
            libraries=("demo/_C_flash.so",) if operator == "flash" else (),
            note="sizes divided by 4: the GPU's memory did not suffice for more" if length == 65536 else "",
        )
        for operator in ("cutlass", "flash", "splitk")
        for direction in ("forward", "backward")
        for dtype, tolerance in (("f16", 4e-3), ("bf16", 2.5e-2), ("f32", 1e-5))
        for place, length in enumerate((1, 17, 1024, 65536), start=len(operator) + len(dtype))
        if (operator, dtype) != ("flash", "f32")
    ]
    reason = "flash takes no f32"
    return cases + [
        skipped(f"attention/flash/{way}/f32/{length}", reason)
        for way in ("forward", "backward")
        for length in (1, 17)
    ]


def _sparse() -> list[Case]:
    return [
        measured("sparse24/matmul/f16", 3.1e-3, 5e-3, libraries=("demo/_C.so",)),
        failed("sparse24/sparsify/bf16", libraries=("demo/_C.so",), seconds=0.4),
        skipped("sparse24/cusparselt", "cuSPARSELt is not there"),
    ]


def _speed() -> list[Case]:
    rows = (
        ("1x4096x16x64", 0.412, 0.388, 334.2),
        ("8x2048x32x128", 1.903, 2.411, 577.1),
        ("decode 32x8192", 0.091, 0.402, 41.0),
    )
    cases = [
        case(
            f"speed/{shape.replace(' ', '-')}",
            seconds=2.0,
            numbers={
                "shape": shape,
                "demo_ms": own,
                "torch_ms": torch,
                "ratio": torch / own,
                "tflops": tflops,
            },
        )
        for shape, own, torch, tflops in rows
    ]
    said = "demo is as fast as torch or faster for 2 of 3 shapes; the slowest is 1x4096x16x64 (0.94)"
    return [*cases, case("speed/verdict", numbers={"sentence": said})]
