"""Grafts: every module gets what it lacks, from its own PTX; what cannot be made right is not made."""

from __future__ import annotations

import os
import re
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import gpucode
from retread.arch import Arch
from retread.build import graft
from retread.doors import proc
from retread.elf import fatbin, library
from retread.errors import ElfError, FatbinError, ToolError
from retread.toolkit import ptxas
from tinycuda import DATA

A8, A9, A10 = Arch("8.0"), Arch("9.0a"), Arch("10.0")


LIB = DATA / "libadd.so"
ISA = (8, 7)


def _cubin(ptx: bytes, target: Arch, options: str, where: str) -> bytes:
    return (DATA / f"add.sm_{target.replace('.', '')}.cubin").read_bytes()


ASSEMBLY = graft.Assembly(ISA, _cubin)
MEANS = graft.alone(ASSEMBLY)


def _progress(done: int, total: int) -> None:
    assert 0 < done <= total


def test_wanted_is_what_some_module_lacks() -> None:
    facts = library.read(LIB)
    assert graft.wanted(facts, [A10, A8]) == (A10,)
    assert graft.wanted(facts, [A8, A9]) == ()


def test_jobs_are_one_for_each_module_and_missing_architecture() -> None:
    modules = library.fat_binaries(LIB)
    jobs = graft.plan_jobs(modules, [A8, A10], ISA)
    assert sorted((job.module, job.target) for job in jobs) == [(index, A10) for index in range(len(modules))]
    assert all(b".target sm_80" in fatbin.ptx(job.entry) and job.entry.options == "-O2" for job in jobs)
    sizes = [job.size for job in jobs]
    assert sizes == sorted(sizes, reverse=True)


def test_ptx_that_is_newer_than_the_assembler_is_refused() -> None:
    with pytest.raises(FatbinError, match=r"its PTX is ISA 8\.7, the toolchain's reads up to 8\.6"):
        graft.plan_jobs(library.fat_binaries(LIB), [A10], (8, 6))


def _fails(ptx: bytes, target: Arch, options: str, where: str) -> bytes:
    raise ToolError(f"ptxas fatal: Value '{target}' is not defined for option 'gpu-name'")


def test_the_proof_names_who_built_the_library_and_who_made_it_again() -> None:
    modules = library.fat_binaries(LIB)
    other = graft.Assembly(ISA, lambda *_: b"other code", "ptxas 12.9")
    asked: list[str] = []

    def provers(cuda: str) -> list[graft.Assembly]:
        asked.append(cuda)
        return [graft.Assembly(ISA, _fails, "ptxas 11.7"), other, graft.Assembly(ISA, _cubin, "ptxas 12.8")]

    found = graft.prove(modules, provers)
    header = "the ELF header of its machine code"
    assert found == graft.Proof(reproduced=True, cuda="12.8", by=header, ptxas="ptxas 12.8")
    assert asked == ["12.8"]
    failed = graft.prove(modules, lambda cuda: [other, graft.Assembly((8, 6), _fails, "ptxas 12.7")])
    assert failed == graft.Proof(reproduced=False, cuda="12.8", by=header, ptxas="ptxas 12.7")
    assert graft.failure(failed) == (
        f"CUDA 12.8 built it ({header}); ptxas 12.7 does not make its own machine code again from its PTX"
    )
    assert graft.prove((), provers).reproduced is None


def _linked_by_nvcc(folder: Path, *, version: int = 2) -> Path:
    """Return a library whose third module is what nvcc's link step adds: no kernel, no PTX, a wrapper of version 2."""
    data = LIB.read_bytes()
    stub = gpucode.fat(gpucode.entry(gpucode.STUB))
    at = data.index(gpucode.PLAIN)
    data = data[:at] + stub + bytes(len(gpucode.PLAIN) - len(stub)) + data[at + len(gpucode.PLAIN) :]
    wrapper = [match.start() for match in re.finditer(struct.pack("<II", 0x466243B1, 1), data)][2]
    path = folder / "linked.so"
    path.write_bytes(data[: wrapper + 4] + struct.pack("<I", version) + data[wrapper + 8 :])
    return path


def test_a_library_that_nvcc_linked_is_grafted_and_its_stub_left_as_it_is(tmp_path: Path) -> None:
    path, new = _linked_by_nvcc(tmp_path), tmp_path / "new.so"
    facts = library.read(path)
    assert [(one.sass, one.ptx, one.kernels) for one in facts.modules[1:3]] == [
        (("8.0", "9.0a"), ("8.0",), 1), (("8.0",), (), 0),
    ]  # fmt: skip
    assert graft.wanted(facts, [A10, A8]) == (A10,)
    graft.graft(path, new, architectures=[A10], run_path=None, means=MEANS, progress=_progress)
    assert [A10 in one.sass for one in library.read(new).modules] == [True, True, False, True]
    assert library.fat_binaries(new)[2].data == library.fat_binaries(path)[2].data
    with pytest.raises(FatbinError, match="module 2 has no PTX"):
        graft.plan_jobs(library.fat_binaries(path), [A10], ISA)


def test_an_unknown_wrapper_is_refused(tmp_path: Path) -> None:
    path = _linked_by_nvcc(tmp_path, version=3)
    with pytest.raises(ElfError, match="wrapper 2 is of version 3"):
        graft.graft(path, tmp_path / "x", architectures=[A10], run_path=None, means=MEANS, progress=_progress)


def test_code_that_cannot_be_grafted_is_not_left_behind_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "renamed.so"
    path.write_bytes(gpucode.section_called(LIB.read_bytes(), b".my_kernel"))
    with pytest.raises(ElfError, match=r"4 modules outside of section \.nv_fatbin"):
        graft.graft(path, tmp_path / "x", architectures=[A10], run_path=None, means=MEANS, progress=_progress)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["renamed.so"]


def test_relocatable_code_is_not_grafted(tmp_path: Path) -> None:
    path = tmp_path / "rdc.so"
    later = gpucode.fat(gpucode.entry(gpucode.RELOCATABLE))
    path.write_bytes(LIB.read_bytes() + later)
    assert len(library.read(path).relocatable) == 1
    with pytest.raises(ElfError, match=r"relocatable device code \(-rdc=true\)"):
        graft.graft(path, tmp_path / "x", architectures=[A10], run_path=None, means=MEANS, progress=_progress)
    graft.graft(path, tmp_path / "y", architectures=[A8], run_path=None, means=MEANS, progress=_progress)


def test_the_proof_is_tried_while_the_new_code_is_assembled(tmp_path: Path) -> None:
    began = threading.Event()

    def cubin(*job: Any) -> bytes:
        began.set()
        return _cubin(*job)

    def provers(cuda: str) -> list[graft.Assembly]:
        assert began.wait(10)
        return [ASSEMBLY]

    means = graft.Means(graft.Assembly(ISA, cubin), provers)
    proof = graft.graft(
        LIB, tmp_path / "new.so", architectures=[A10], run_path=None, means=means, progress=_progress
    )
    assert proof.reproduced


def test_an_interrupt_during_the_proof_ends_the_workers_and_leaves_nothing(tmp_path: Path) -> None:
    before = threading.active_count()

    def provers(cuda: str) -> list[graft.Assembly]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graft.graft(
            LIB,
            tmp_path / "new.so",
            architectures=[A10],
            run_path=None,
            means=graft.Means(ASSEMBLY, provers),
            progress=_progress,
        )
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_jobs_run_and_report(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = graft.plan_jobs(library.fat_binaries(LIB), [A10], ISA)
    seen: list[int] = []
    cubins, beside = graft.run_jobs(
        jobs, ASSEMBLY, lambda done, total: seen.append(total - done), lambda: len(seen)
    )
    assert {module: set(found) for module, found in cubins.items()} == {
        index: {A10} for index in range(len(jobs))
    }
    assert (seen[-1], beside) == (0, 0)


def test_the_first_failure_stops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    calls: list[str] = []
    noticed = threading.Event()
    stopping = proc.stopping

    def fail(ptx: bytes, target: Arch, options: str, where: str) -> bytes:
        assert not calls or noticed.wait(10)
        calls.append(where)
        raise FatbinError("no")

    def stop() -> AbstractContextManager[None]:
        noticed.set()
        return stopping()

    monkeypatch.setattr(proc, "stopping", stop)
    jobs = graft.plan_jobs(library.fat_binaries(LIB), [A10], ISA) * 20
    with pytest.raises(FatbinError):
        graft.run_jobs(jobs, graft.Assembly(ISA, fail), _progress, bool)
    assert len(calls) < len(jobs)


def test_an_interrupt_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    jobs = graft.plan_jobs(library.fat_binaries(LIB), [A10], ISA)
    with pytest.raises(KeyboardInterrupt):
        graft.run_jobs(jobs, ASSEMBLY, interrupt, bool)
    assert threading.active_count() == before


def test_an_interrupt_while_jobs_are_handed_out_runs_none_of_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    calls: list[str] = []
    begun, handed = threading.Event(), threading.Event()
    submit = ThreadPoolExecutor.submit

    def slow(ptx: bytes, target: Arch, options: str, where: str) -> bytes:
        begun.set()
        assert handed.wait(10)
        calls.append(where)
        return b""

    def interrupt(self: ThreadPoolExecutor, *arguments: object) -> object:
        if self._work_queue.qsize() > 50:
            assert begun.wait(10)
            handed.set()
            raise KeyboardInterrupt
        return submit(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupt)
    jobs = graft.plan_jobs(library.fat_binaries(LIB), [A10], ISA) * 20
    with pytest.raises(KeyboardInterrupt):
        graft.run_jobs(jobs, graft.Assembly(ISA, slow), _progress, bool)
    assert 0 < len(calls) < 50


def test_a_key_depends_on_everything_that_decides_the_code() -> None:
    keys = {
        graft.cubin_key(*one)
        for one in (
            (b"a", A8, (), "x"), (b"b", A8, (), "x"), (b"a", A9, (), "x"),
            (b"a", A8, ("-O2",), "x"), (b"a", A8, (), "y"),
        )
    }  # fmt: skip
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("-v -O2", ("-O2",)),
        ("--verbose", ()),
        ("-fmad=false -lineinfo", ("-fmad=false", "-lineinfo")),
    ],
)
def test_known_options_are_passed_on(text: str, found: tuple[str, ...]) -> None:
    assert ptxas.options(text, where="m") == found


@pytest.mark.parametrize("text", ["-o /etc/passwd", "--output-file=x", "-O9", "x.ptx", "-arch=sm_70"])
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(FatbinError, match="which retread does not pass on"):
        ptxas.options(text, where="m")
