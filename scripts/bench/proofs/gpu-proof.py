#!/usr/bin/env python3
"""Prove on a real GPU that grafted code is native code, and measure the cold start with and without it.

    gpu-proof.py prepare WHEEL OFFICIAL RUNTIME... --arch 9.0 -o FOLDER   here, with retread
    gpu-proof.py run FOLDER --json REPORT                                 on the GPU machine: only Python and torch

``prepare`` lays four wheels into FOLDER: the official one; retread's as it is; ``hollow``, retread's without the
machine code that this GPU would run; and ``grafted``, the hollow one after ``retread graft --arch``. ``run`` makes the
first calls into the compiled library in fresh processes, with the JIT's cache off, once with the JIT and once without.
RUNTIME are the wheels that the target needs beyond torch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIANTS = ("official", "retread", "hollow", "grafted")
MODES = {"jit": {}, "no-jit": {"CUDA_DISABLE_PTX_JIT": "1"}}
LIBRARY = "xformers/_C.so"


def main() -> None:
    """Run the subcommand that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("prepare")
    first.add_argument("wheel", type=Path)
    first.add_argument("official", type=Path)
    first.add_argument("runtime", type=Path, nargs="*")
    first.add_argument("--arch", default="9.0")
    first.add_argument("-o", "--out", type=Path, required=True)
    first.set_defaults(run=prepare)
    second = commands.add_parser("run")
    second.add_argument("folder", type=Path)
    second.add_argument("--json", type=Path, required=True)
    second.set_defaults(run=prove)
    third = commands.add_parser("case")
    third.add_argument("site", type=Path)
    third.set_defaults(run=case)
    options = parser.parse_args()
    options.run(options)


# Here, with retread.


def prepare(options: argparse.Namespace) -> None:
    """Lay out the four wheels and the runtime wheels."""
    out: Path = options.out
    for variant in VARIANTS:
        (out / variant).mkdir(parents=True, exist_ok=True)
    _copy(options.wheel, out / "retread")
    _copy(options.official, out / "official")
    for runtime in options.runtime:
        (out / "runtime").mkdir(exist_ok=True)
        _copy(runtime, out / "runtime")
    with tempfile.TemporaryDirectory() as work:
        library = Path(work) / "library.so"
        library.write_bytes(zipfile.ZipFile(options.wheel).read(LIBRARY))
        hollow, grafted = Path(work) / "hollow.so", Path(work) / "grafted.so"
        _hollow(library, hollow, options.arch)
        command = [
            Path(sys.executable).with_name("retread"),
            "graft",
            hollow,
            "--arch",
            options.arch,
            "-o",
            grafted,
        ]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for variant, replaced in (("hollow", hollow), ("grafted", grafted)):
            _replace(options.wheel, replaced, out / variant / options.wheel.name)
    digests = {
        variant: hashlib.sha256(next((out / variant).glob("*.whl")).read_bytes()).hexdigest()
        for variant in VARIANTS
    }
    (out / "prepared.json").write_text(json.dumps({"arch": options.arch, "sha256": digests}))


def _copy(file: Path, folder: Path) -> None:
    (folder / file.name).write_bytes(file.read_bytes())


def _hollow(source: Path, destination: Path, arch: str) -> None:
    """Take out every machine code that a GPU of this architecture would run."""
    from retread.arch import Arch, runs
    from retread.elf import fatbin
    from retread.elf import library as elf

    modules = elf.fat_binaries(source)
    kept = {}
    for module in modules:
        header = bytearray(module.data[:16])
        body = b""
        at = 16
        for entry in module.entries:
            length = int.from_bytes(module.data[at + 4 : at + 8], "little")
            padded = int.from_bytes(module.data[at + 8 : at + 16], "little")
            whole = bytes(module.data[at : at + length + padded])
            at += length + padded
            if entry.kind is fatbin.Kind.ELF and runs(entry.arch, Arch(arch)):
                continue
            body += whole
        header[8:16] = len(body).to_bytes(8, "little")
        kept[module.index] = bytes(header) + body
    elf.edit(source, destination, fatbins=kept)


def _replace(wheel: Path, library: Path, out: Path) -> None:
    from retread.wheel.wheelfile import Wheel, copies, sealed
    from retread.wheel.zipwriter import NewFile, write

    with Wheel(wheel) as opened:
        sources = {one.name: one for one in copies(opened, opened.verify())}
        sources[LIBRARY] = NewFile(name=LIBRARY, path=library, executable=True)
        write(out, sealed(sources.values(), opened.dist_info), date_time=0)


# On the GPU machine: standard library and torch only.


def prove(options: argparse.Namespace) -> None:
    """Run every variant in every mode in a process of its own and write the report."""
    report: dict[str, Any] = {**json.loads((options.folder / "prepared.json").read_text()), "runs": []}
    with tempfile.TemporaryDirectory() as work:
        for variant in VARIANTS:
            site = Path(work) / variant
            wheels = [*(options.folder / variant).glob("*.whl")]
            if variant != "official":  # which does not ask for it
                wheels += (options.folder / "runtime").glob("*.whl")
            for wheel in wheels:
                zipfile.ZipFile(wheel).extractall(site)
            for mode, extra in MODES.items():
                report["runs"].append(_run(site, variant, mode, extra))
                print(json.dumps(report["runs"][-1]))
    report["machine"] = _machine()
    report["same_bytes"] = _same(report["runs"])
    options.json.write_text(json.dumps(report, indent=2) + "\n")


def _run(site: Path, variant: str, mode: str, extra: dict[str, str]) -> dict[str, Any]:
    env = {**os.environ, "CUDA_CACHE_DISABLE": "1", "PYTHONPATH": str(site), **extra}
    env.pop("LD_LIBRARY_PATH", None)
    command = [sys.executable, __file__, "case", str(site)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = {"variant": variant, "mode": mode, "exit": done.returncode, "cases": lines}
    if done.returncode:
        found["stderr"] = done.stderr.strip().splitlines()[-3:]
    return found


def _machine() -> dict[str, str]:
    import platform

    import torch

    smi = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    said = subprocess.run(smi, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "gpu": said,
        "torch": torch.__version__,
        "cuda of torch": str(torch.version.cuda),
        "python": platform.python_version(),
    }


def _same(runs: list[dict[str, Any]]) -> dict[str, bool]:
    """Say for each case whether every run that passed gave the same bytes."""
    digests: dict[str, set[str]] = {}
    for one in (case for run in runs for case in run["cases"] if case.get("ok") and case.get("digest")):
        digests.setdefault(one["case"], set()).add(one["digest"])
    return {name: len(found) == 1 for name, found in digests.items()}


def case(options: argparse.Namespace) -> None:
    """Call into the library of ``site`` and print one JSON line for each case."""
    for line in _cases(options.site):
        print(json.dumps(line), flush=True)


def _cases(site: Path) -> Iterator[dict[str, Any]]:
    import torch

    started = time.perf_counter()
    import xformers
    import xformers.ops

    assert Path(xformers.__file__).is_relative_to(site), xformers.__file__
    failure = xformers._cpp_lib._cpp_library_load_exception
    seconds = round(time.perf_counter() - started, 3)
    said = str(failure.__cause__ or failure).splitlines()[0] if failure else ""
    mapped = {
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "cudart" in line
    }
    yield {
        "case": "load",
        "ok": failure is None,
        "seconds": seconds,
        "version": xformers.__version__,
        "error": said.replace(f"{site}/", "SITE/"),
        "libcudart": sorted(
            path.replace(f"{site}/", "SITE/").replace(f"{sys.prefix}/", "PREFIX/") for path in mapped
        ),
    }
    if failure is not None:
        return
    torch.manual_seed(0)
    dense = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
    torch.cuda.synchronize()
    for name, call in (
        ("sparsify24", lambda: torch.ops.xformers.sparse24_sparsify_both_ways(dense, "", "cutlass")),
        ("largest_mask_2d", lambda: torch.ops.xformers.sparse24_largest_mask_2d(dense)),
    ):
        for which in ("first", "second"):
            yield _timed(f"{name}, {which} call", call)
    yield _attention()


def _timed(name: str, call: Any) -> dict[str, Any]:
    import torch

    started = time.perf_counter()
    try:
        result = call()
        torch.cuda.synchronize()
    except Exception as error:  # the driver's own word is the result
        return {"case": name, "ok": False, "error": str(error).splitlines()[0]}
    seconds = round(time.perf_counter() - started, 4)
    tensors = result if isinstance(result, (tuple, list)) else [result]
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return {"case": name, "ok": True, "seconds": seconds, "digest": digest.hexdigest()}


def _attention() -> dict[str, Any]:
    """fp32 attention through the CUTLASS operator against fp64."""
    import torch
    from xformers.ops import fmha

    query, key, value = (torch.randn(2, 512, 8, 64, device="cuda") for _ in range(3))
    try:
        found = fmha.memory_efficient_attention(query, key, value, op=(fmha.cutlass.FwOp, None))
    except Exception as error:
        return {"case": "attention fp32 cutlass", "ok": False, "error": str(error).splitlines()[0]}
    wide = (one.double().transpose(1, 2) for one in (query, key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(*wide).transpose(1, 2)
    error = float((found.double() - expected).abs().max())
    return {"case": "attention fp32 cutlass", "ok": error < 1e-4, "max error": error}


main()
