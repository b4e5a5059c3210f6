"""What is said of environments: findings, how GPUs are served, which wheel fits, why no other does."""

from __future__ import annotations

import msgspec
import pytest

from fitting import KNOWN, PYTHON, TORCH, TRITON, demo, environment, library
from retread.arch import Arch
from retread.doors.net import offers
from retread.elf.facts import Module
from retread.fit import judge, table
from retread.fit.candidates import Listed
from retread.fit.environment import Environment, Hardware, Import, Library, Package
from retread.fit.report import Candidate, Finding, FitReport


def judged(found: Environment, *listed: Listed) -> FitReport:
    return judge.judge(found, KNOWN, listed=listed)


def faults(found: Environment) -> list[Finding]:
    return [one for one in judged(found).findings if one.fault]


def candidate(report: FitReport, version: str, by: str = "retread") -> Candidate:
    (found,) = (one for one in report.candidates if (one.version, one.by) == (version, by))
    return found


SOUND = demo("1.3+cu128.1", library("demo/_C.so", "8.0", "9.0a", "12.0"), mends=("cap",))


def test_a_sound_environment_fits() -> None:
    report = judged(environment(SOUND, gpus="12.0", driver="570.1"))
    assert report.fits
    assert report.verdict == "fits: torch 2.8.0+cu128, Python 3.12.3, GPU 12.0, demo 1.3+cu128.1"
    assert report.libraries[0].gpus == {"12.0": "native, tuned for it"}
    assert report.driver_cuda == "12.8"


def test_without_the_project_the_wheel_to_take_is_named() -> None:
    report = judged(environment(gpus="9.0"))
    assert report.fits
    assert report.verdict.endswith("; take demo 1.3+cu128.1 (retread)")


@pytest.mark.parametrize(
    ("code", "gpu", "driver", "words"),
    [
        (library("_C.so", "8.0"), "8.6", "570.1", "native"),
        (library("_C.so", "8.6"), "8.6", "570.1", "native, tuned for it"),
        (library("_C.so", "9.0a"), "9.0", "", "native, tuned for it"),
        (library("_C.so", "9.0a", ptx=("8.0",)), "12.0", "570.1", "by JIT from PTX (needs driver >= 570)"),
        (
            library("_C.so", "9.0a", ptx=("8.0",), isa=(9, 0)),
            "12.0",
            "570.1",
            "PTX too new for the driver (needs driver >= 580)",
        ),
        (library("_C.so", ptx=("8.0",), isa=(8, 5)), "12.0", "", "by JIT from PTX (needs driver >= 555)"),
        (library("_C.so", ptx=("8.0",), isa=(8, 6)), "12.0", "", "by JIT from PTX (needs driver >= 565)"),
        (
            library("_C.so", ptx=("8.0",), isa=(9, 4)),
            "12.0",
            "",
            "by JIT from PTX (needs driver >= one for CUDA 13.4)",
        ),
        (library("_C.so", "9.0a"), "12.0", "570.1", "NO CODE"),
        (library("_C.so", "8.0", ptx=("8.0",)), "7.5", "570.1", "NO CODE"),
    ],
)
def test_every_library_says_how_a_gpu_runs_it(code: Library, gpu: str, driver: str, words: str) -> None:
    package = Package(name="other", version="1", libraries=(code,))
    report = judged(environment(package, gpus=gpu, driver=driver))
    assert report.libraries[0].gpus == {gpu: words}
    assert report.fits == words.startswith(("native", "by JIT"))


def test_a_library_that_is_exempt_needs_no_code_for_every_gpu() -> None:
    package = demo("1.3+cu128.1", library("demo/fa.so", "9.0a"), mends=("cap",))
    report = judged(environment(package, gpus="12.0"))
    assert report.fits
    assert "It is for Hopper" in next(one.says for one in report.findings if one.kind == "gpu")


def test_triton_of_another_torch_is_told_with_the_one_that_belongs() -> None:
    (fault,) = faults(environment(Package(name="triton", version="3.5.0"), gpus="9.0"))
    assert (fault.kind, fault.subject) == ("triton", "torch 2.8.0")
    assert fault.says == "requires triton==3.4.0, 3.5.0 is installed"
    assert fault.next == "install triton==3.4.0, which torch 2.8.0 was made with"


def test_missing_requirements_are_told_at_once_and_another_version_of_a_library_does_no_harm() -> None:
    torch = msgspec.structs.replace(
        TORCH, requires=("triton==3.4.0", "sympy", "jinja2", "nvidia-nccl-cu12==2.27.3")
    )
    nccl = Package(name="nvidia-nccl-cu12", version="2.27.5")
    (fault,) = faults(environment(torch, nccl, gpus="9.0"))
    assert fault.says == "requires sympy, jinja2: they are not installed"


def test_a_wheel_made_for_another_torch() -> None:
    package = Package(
        name="demo",
        version="1.2",
        requires=("torch==2.6.0",),
        libraries=(Library(path="demo/_C.so", undefined=("_Za", "_Zb", "_Zc", "_Zd")),),
    )
    found = faults(environment(package, gpus="9.0"))
    assert [one.kind for one in found] == ["requirement", "symbol", "patch"]
    assert found[0].next == "take the demo that is made for your torch"
    assert found[1].says == "undefined symbols: torch 2.8.0 does not have _Za, _Zb, _Zc and 1 more"


def test_libraries_that_nobody_provides_or_that_are_broken() -> None:
    package = demo(
        "1.3+cu128.1",
        Library(path="demo/_C.so", missing=("libcudart.so.12",)),
        Library(path="demo/_D.so", fault="no ELF file"),
        mends=("cap",),
    )
    found = faults(environment(package, gpus="9.0"))
    assert [one.says for one in found] == [
        "nothing here provides libcudart.so.12, which it needs",
        "no ELF file",
    ]
    assert found[1].next == "install it again: demo==1.3+cu128.1"


@pytest.mark.parametrize(
    ("triton", "fault"), [("3.2.0", False), ("3.3.1", True), ("3.4.0", True), ("3.6.0", True), ("odd", False)]
)
def test_a_fault_of_the_release_appears_where_its_conditions_hold(triton: str, fault: bool) -> None:
    torch = msgspec.structs.replace(TORCH, requires=())
    found = faults(environment(torch, Package(name="triton", version=triton), demo("1.2"), gpus="9.0"))
    assert [one.says for one in found] == (['"import demo" dies'] if fault else [])


def test_a_patched_wheel_does_not_have_the_fault_and_a_newer_release_neither() -> None:
    assert faults(environment(demo("1.2+cu128.1", mends=("set-source",)), gpus="9.0")) == []
    assert faults(environment(demo("1.3"), gpus="9.0")) == []


def test_a_fault_of_gpus_that_nobody_named_is_told_with_its_condition() -> None:
    report = judged(environment(demo("1.3")))
    assert report.fits
    said = [one.says for one in report.findings if one.kind == "patch"]
    assert said == ["fp32 attention on newer GPUs (when gpu >9.0)"]
    assert not judged(environment(demo("1.3"), gpus="12.0")).fits


@pytest.mark.parametrize(
    ("driver", "cuda", "gpu", "told"),
    [
        ("470.1", "12.8", "9.0", "is of CUDA 11.4 and does not know a GPU of capability 9.0"),
        ("470.1", "12.8", "8.0", "is of CUDA 11.4: torch for CUDA 12.8 does not start on it"),
        ("570.1", "13.0", "8.0", "is of CUDA 12.8: torch for CUDA 13.0 does not start on it"),
        ("550.1", "12.8", "12.0", "is of CUDA 12.4 and does not know a GPU of capability 12.0"),
        ("550.1", "12.8", "8.0", ""),
        ("999.1", "12.8", "12.0", ""),
        ("390", "12.8", "8.0", "is of CUDA 0.0 and does not know a GPU of capability 8.0"),
    ],
)
def test_a_driver_that_cannot_run_it(driver: str, cuda: str, gpu: str, told: str) -> None:
    found = faults(environment(gpus=gpu, driver=driver, cuda=cuda))
    assert [one.says for one in found][:1] == ([told] if told else [])


def test_minor_version_compatibility_is_good_to_know() -> None:
    (found,) = (
        one for one in judged(environment(gpus="8.0", driver="550.1")).findings if one.kind == "driver"
    )
    assert not found.fault
    assert found.says.startswith(
        "is of CUDA 12.4: by minor version compatibility it runs the machine code of CUDA 12.8"
    )


def test_no_torch_and_a_torch_without_cuda() -> None:
    nothing = Environment(interpreter=PYTHON, packages=(), torch_cuda="", hardware=Hardware(source="nobody"))
    report = judged(nothing)
    assert report.verdict.startswith("does not fit: no torch, Python 3.12.3: torch: is not installed here")
    assert all("no torch is installed here" in one.reasons[0] for one in report.candidates)
    (fault,) = faults(environment(cuda=""))
    assert "is not built for CUDA" in fault.says


def test_an_import_that_crashed_counts_and_one_that_was_stopped_does_not() -> None:
    found = environment(SOUND, gpus="12.0")
    crashed = Import(module="demo.ops", ok=False, said="the process was killed by SIGSEGV")
    (fault,) = faults(msgspec.structs.replace(found, imports=(crashed,)))
    assert (fault.subject, fault.says) == ("import demo.ops", "the process was killed by SIGSEGV")
    known = Import(module="demo.ops", ok=False, said="AttributeError: Cannot set attribute 'src' directly")
    (fault,) = faults(msgspec.structs.replace(found, imports=(known,)))
    assert fault.next == "upstream mended it in demo 1.3; take the release that is made for your torch"
    warned = msgspec.structs.replace(
        found, imports=(Import(module="demo.ops", ok=True, said="no extensions"),)
    )
    assert faults(warned) == []
    assert [one.says for one in judged(warned).findings] == ["goes well and warns: no extensions"]
    stopped = Import(module="demo.ops", ok=False, said="not known", ended=False)
    assert faults(msgspec.structs.replace(found, imports=(stopped,))) == []


def test_a_torch_without_code_for_the_gpu_comes_first_and_its_cuda_is_the_reason() -> None:
    torch = msgspec.structs.replace(TORCH, libraries=(library("torch/lib/libtorch_cuda.so", "8.0", "9.0"),))
    broken = demo("1.2", library("demo/_C.so", "8.0", "9.0a", "12.0"))
    found = judged(environment(torch, broken, gpus="12.0", driver="570.1", cuda="12.6"))
    first = found.findings[0]
    assert (first.kind, first.subject) == ("torch", "torch torch/lib/libtorch_cuda.so")
    hint = "CUDA 12.6 does not know this GPU: take a torch that is built for CUDA 12.8 or newer"
    assert first.next == hint
    assert found.verdict.endswith(f"; {hint}")


def test_libraries_that_lack_the_same_are_told_once_and_the_wheel_that_is_there_is_not_to_be_taken() -> None:
    lacking = [Library(path=f"demo/_{one}.so", missing=("libcudart.so.12",)) for one in "CDE"]
    found = judged(environment(demo("1.3+cu128.1", *lacking, mends=("cap",)), gpus="9.0"))
    (one,) = [one for one in found.findings if one.fault]
    assert one.subject == "demo demo/_C.so and 2 more"
    assert one.says == "nothing here provides libcudart.so.12, which they need"
    assert found.verdict.endswith("which they need")


@pytest.mark.parametrize(
    ("cuda", "says"),
    [
        ("13.0", "it is made for CUDA 12, torch for CUDA 13.0; take the build of it for torch's, or one that brings "
         "its own runtime"),
        ("12.8", "install what demo requires, or the build of it for CUDA 12.8"),
    ],
)  # fmt: skip
def test_a_wheel_for_another_cuda_than_torchs_is_not_told_to_install_what_it_requires(
    cuda: str, says: str
) -> None:
    package = demo("1.2", Library(path="demo/_C.so", missing=("libcudart.so.12",)))
    assert faults(environment(package, gpus="9.0", cuda=cuda))[0].next == says


def test_what_links_to_a_torch_that_is_not_there_is_told_what_to_install() -> None:
    package = demo("1.2", msgspec.structs.replace(library("demo/_C.so", "8.0"), missing=("libtorch.so",)))
    bare = msgspec.structs.replace(environment(package, cuda=""), packages=(package,))
    assert "install what demo requires" in [one.next for one in judged(bare).findings]


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ("9.0", "native, tuned for it, but for 1 of 3 kernels"),
        ("12.0", "native, tuned for it, but for 2 of 3 kernels"),
        ("7.5", "NO CODE"),
    ],
)
def test_kernels_for_one_gpu_alone_do_not_make_a_library_one_for_the_jit(gpu: str, words: str) -> None:
    codes = (("8.0", "9.0", "12.0"), ("9.0",), ("10.0",))
    modules = tuple(Module(index=0, sass=tuple(map(Arch, one)), ptx=()) for one in codes)
    found = library("_C.so", "8.0")
    assert found.facts
    found = msgspec.structs.replace(found, facts=msgspec.structs.replace(found.facts, modules=modules))
    package = Package(name="other", version="1", libraries=(found,))
    report = judged(environment(package, gpus=gpu, driver="570.1"))
    assert report.libraries[0].gpus == {gpu: words}
    assert report.fits == (words != "NO CODE")


def test_each_candidate_says_why_it_does_not_fit() -> None:
    report = judged(environment(demo("1.2"), gpus="12.0", driver="570.1"))
    best, second = report.candidates[:2]
    assert (best.version, best.get) == ("1.3+cu128.1", "make wheel RECIPE=demo-1.3 TARGET=cu128")
    assert best.pip == (
        "/venv/bin/python -m pip install --no-deps dist/demo-1.3+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl"
    )
    assert best.uv.startswith("uv pip install --python /venv/bin/python --no-deps dist/demo-1.3")
    assert (second.version, second.compiles, second.fits) == ("1.2+cu128.1", True, True)
    assert second.pip.endswith("dist/demo-1.2+cu128.1-*.whl")
    assert candidate(report, "1.4+cu128.1").reasons == ("it is for torch >=2.10; 2.8.0 is installed",)
    assert candidate(report, "1.2+cu130.1").reasons == (
        "it is for torch ==2.11.0; 2.8.0 is installed",
        "CUDA 13.0 needs driver >= 580; 570.1 is here",
        "it needs libcudart.so.13; the installed torch is built for CUDA 12.8",
    )
    assert candidate(report, "1.3", "upstream").reasons == ("here fp32 attention on newer GPUs",)
    assert not any(one.fits for one in report.candidates[2:])


def test_where_pip_is_not_installed_another_pip_installs_into_the_environment() -> None:
    found = environment(demo("1.2"), gpus="12.0", driver="570.1")
    bare = msgspec.structs.replace(found, packages=tuple(one for one in found.packages if one.name != "pip"))
    assert (
        judged(bare)
        .candidates[0]
        .pip.startswith("python3 -m pip --python /venv/bin/python install --no-deps")
    )


def test_whoever_has_the_best_wheel_is_not_told_to_take_it() -> None:
    had = demo("1.3+cu128.1", library("demo/_C.so", "8.0", "9.0a", "12.0"), mends=("cap", "set-source"))
    shown = table.report(judged(environment(had, gpus="12.0", driver="570.1")))
    assert "demo 1.3+cu128.1 is installed: no other wheel is better" in shown
    assert "neither line can replace torch" not in shown


def test_where_nothing_is_broken_the_official_release_fits_too() -> None:
    official = candidate(judged(environment(gpus="9.0")), "1.3", "upstream")
    assert official.fits
    assert official.pip == "/venv/bin/python -m pip install --no-deps demo==1.3"
    assert official.gpus == {"9.0": "by JIT from PTX (needs driver >= 570)"}


def test_python_machine_and_glibc_are_reasons() -> None:
    report = judged(environment(python="3.14.0", gpus="9.0"))
    assert candidate(report, "1.2+cu128.1").reasons == (
        "it can be compiled for Python >=3.9,<3.14; 3.14.0 is here",
    )
    assert candidate(report, "1.2", "upstream").reasons[0] == (
        "its wheels are for cp312-cp312 on manylinux_2_28_x86_64; here are cp314, x86_64, glibc 2.36"
    )
    found = environment(gpus="9.0")
    old = msgspec.structs.replace(found, interpreter=msgspec.structs.replace(PYTHON, glibc=(2, 17)))
    assert "here are cp312, x86_64, glibc 2.17" in candidate(judged(old), "1.3+cu128.1").reasons[0]
    free = msgspec.structs.replace(
        found, interpreter=msgspec.structs.replace(PYTHON, version="3.13.1", abi="cp313t")
    )
    assert "here are cp313t" in candidate(judged(free), "1.3+cu128.1").reasons[0]


def test_a_wheel_that_brings_its_runtime_serves_a_torch_for_another_cuda_and_the_line_names_it() -> None:
    torch = Package(name="torch", version="2.11.0")
    best = candidate(judged(environment(torch, gpus="9.0", cuda="13.0")), "1.4+cu128.1")
    assert best.fits
    assert best.pip.endswith("'nvidia-cuda-runtime-cu12>=12.8'")


def listed(*files: str, address: str = "", yanked: bool = False) -> Listed:
    read = (offers.read(file, "demo", yanked=yanked) for file in files)
    places = {} if address else {file: f"/wheels/{file}" for file in files}
    return Listed("demo", address, tuple(filter(None, read)), places)


OURS = "demo-1.3+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl"


def test_a_wheel_of_an_index_is_taken_from_there() -> None:
    best = candidate(
        judged(environment(gpus="9.0"), listed(OURS, address="https://w.example/simple/")), "1.3+cu128.1"
    )
    assert best.get == ""
    assert best.pip.endswith("--no-deps --index-url https://w.example/simple/ demo==1.3+cu128.1")
    best = candidate(judged(environment(gpus="9.0"), listed(OURS)), "1.3+cu128.1")
    assert best.pip.endswith(f"--no-deps /wheels/{OURS}")


def test_a_yanked_wheel_and_one_that_no_recipe_makes_are_not_taken() -> None:
    report = judged(environment(gpus="9.0"), listed(OURS, yanked=True), listed("demo-9.9-py3-none-any.whl"))
    assert candidate(report, "1.3+cu128.1").get != ""
    assert candidate(report, "9.9", "the index").reasons == (
        "no recipe here makes it: which torch and GPUs it is for is not known without the wheel",
    )


def test_whether_it_is_needed_says_what_was_measured_and_where() -> None:
    assert judged(environment(gpus="9.0")).need == ("demo: torch is as fast",)
    assert judged(environment(gpus="12.0")).need == (
        "demo: nothing was measured on capability 12.0; elsewhere, torch is as fast",
    )


def test_the_report_shows_all_of_it_and_moves_no_cursor() -> None:
    package = demo("1.2", library("demo/_C\x1b[2J.so", "9.0a", ptx=("8.0",)))
    shown = table.report(judged(environment(package, gpus="12.0", driver="570.1")))
    for line in (
        "/venv/bin/python: Python 3.12.3, torch 2.8.0+cu128, Triton 3.4.0",
        "GPU 12.0 (RTX 50), driver 570.1 (CUDA 12.8), said by the options",
        "must change",
        '  demo 1.2: "import demo" dies',
        "  fits  demo 1.3+cu128.1 (retread)  12.0: native, tuned for it",
        "  no    for another torch: demo (retread) 1.4+cu128.1 for >=2.10, 1.2+cu130.1",
        "take demo 1.3+cu128.1; neither line can replace torch",
        "is it needed?",
    ):
        assert f"\n{line}\n" in f"\n{shown}\n"
    assert "\x1b" not in shown
    assert table.line(judged(environment(demo("1\x1b[2J"), gpus="9.0"))).isprintable()
    assert "native 9.0a; PTX 8.0" in table.report(judged(environment(package)))


def test_triton_alone_is_no_reason_to_change() -> None:
    assert judged(environment(TRITON, gpus="9.0")).fits
