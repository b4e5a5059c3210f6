"""The program in nvcc's place: what becomes of every option, and which commands are run for a unit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from retread.compile.inside import cudaoptions as options
from retread.compile.inside import nvcc

CUDA = "12.8.93"
GENCODE = ("-gencode", "arch=compute_90,code=sm_90")


def read(*arguments: str) -> options.Plan:
    plan = options.read(options.expand(arguments))
    options.check(plan)
    return plan


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        read(*arguments)
    assert caught.value.code == 1
    return capsys.readouterr().err


class Work(nvcc.Work):
    """A call whose host compiler has answered."""

    def _ask(self, option: str) -> str:
        return {"-print-sysroot": "", "-print-libgcc-file-name": "/usr/lib/gcc/x/12/libgcc.a"}[option]


class Steps:
    """The commands of one call, as ``--dryrun`` shows them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        given = ["-c", "a.cu", "-o", "a.o", "--dryrun", "-ccbin", f"{folder}/g++", *arguments]
        if not any("arch" in one for one in arguments):
            given += GENCODE
        Work(read(*given), "/kit", CUDA, "/scratch").run()
        self.commands = [shlex.split(line) for line in capsys.readouterr().err.splitlines()]

    def of(self, program: str, *words: str) -> list[list[str]]:
        return [one for one in self.commands if one[0].endswith(program) and set(words) <= set(one)]

    @property
    def device(self) -> list[list[str]]:
        return self.of("clang++", "--cuda-device-only")

    @property
    def host(self) -> list[str]:
        (found,) = self.of("clang++", "--cuda-host-only")
        return found

    @property
    def ptxas(self) -> list[list[str]]:
        return self.of("ptxas")


@pytest.fixture
def steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    return lambda *arguments: Steps(tmp_path, capsys, *arguments)


# Options one by one.

BOTH = {
    ("-Ix",): ["-Ix"], ("-I", "x,y"): ["-Ix", "-Iy"], ("--include-path=x",): ["-Ix"], ("-isystem", "x"): ["-isystemx"],
    ("--system-include=x",): ["-isystemx"], ("-include", "x.h"): ["-includex.h"], ("-DA=1",): ["-DA=1"],
    ("-DA(x,y)=x",): ["-DA(x,y)=x"], ("-D", "A"): ["-DA"], ("--define-macro", "A"): ["-DA"], ("-UA",): ["-UA"],
    ("--undefine-macro=A",): ["-UA"], ("-std=c++17",): ["-std=c++17"], ("--std", "c++20"): ["-std=c++20"],
    ("-w",): ["-w"],
    ("-Xcompiler", "-DA,-UB"): ["-DA", "-UB"], ("-Xcompiler", "-isystem,x", "-Xcompiler=-O2"): ["-isystem", "x"],
    ("--compiler-options", "'-ffile-prefix-map=/a=/b'"): ["-ffile-prefix-map=/a=/b"],
    ("-Xcompiler=-DA=1\\,2",): ["-DA=1,2"],
    ("--default-stream=per-thread",): ["-DCUDA_API_PER_THREAD_DEFAULT_STREAM=1"],
}  # fmt: skip


@pytest.mark.parametrize("given", BOTH, ids=" ".join)
def test_what_reaches_device_and_host(steps, given: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    found = steps(*given)
    for command in (*found.device, found.host):
        assert [one for one in command if one in BOTH[given]] == BOTH[given]


@pytest.mark.parametrize(
    "given",
    ["-Xcompiler -fPIC,-O1,-ffast-math", "--compiler-options '-fPIC' -Xcompiler=-O1 -Xcompiler -ffast-math",
     "-forward-unknown-to-host-compiler -fPIC -Xcompiler -O1 -ffast-math"],
)  # fmt: skip
def test_what_is_the_host_compiler_s_does_not_reach_device_code(steps, given: str) -> None:  # type: ignore[no-untyped-def]
    found = steps(*given.split())
    wanted = ["-fPIC", "-O1", "-ffast-math"]
    assert [one for one in found.host if one in wanted] == wanted
    assert [one for command in found.device for one in command if one in wanted] == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--ptxas-options=-v,-O2",), ["-v", "-O2"]),
        (("-Xptxas", "-v", "--ptxas-options=-allow-expensive-optimizations=true"),
         ["-v", "-allow-expensive-optimizations=true"]),
        (("-maxrregcount=64",), ["--maxrregcount=64"]),
        (("-res-usage",), ["-v"]),
        (("-lineinfo",), ["-lineinfo"]),
    ],
)  # fmt: skip
def test_what_reaches_ptxas(steps, given: tuple[str, ...], told: list[str]) -> None:  # type: ignore[no-untyped-def]
    found = steps(*given)
    (command,) = found.ptxas
    assert [one for one in command if one in told] == told
    (packing,) = found.of("fatbinary")
    kept = [one for one in packing if one.startswith("--cmdline")]
    assert kept == ([] if given == ("-lineinfo",) else [f"--cmdline={' '.join(told)}"])
    assert ("-O3" in command) == ("-O2" not in told), "ptxas takes one level"


@pytest.mark.parametrize(
    ("given", "has", "lacks"),
    [
        ((), ["-mllvm=-nvvm-reflect-add=__CUDA_PREC_SQRT=1", "-O3"], ["-gline-directives-only", "-O0"]),
        (("-O0",), ["-O3"], ["-O0"]),
        (("--use_fast_math",),
         ["-fcuda-flush-denormals-to-zero", "-fcuda-approx-transcendentals", "-mllvm=-nvptx-prec-divf32=0",
          "-mllvm=-nvptx-prec-sqrtf32=0"],
         ["-ffast-math", "-mllvm=-nvvm-reflect-add=__CUDA_PREC_SQRT=1"]),
        (("-use_fast_math", "-prec-sqrt=true"), ["-mllvm=-nvvm-reflect-add=__CUDA_PREC_SQRT=1"],
         ["-mllvm=-nvptx-prec-sqrtf32=0"]),
        (("-ftz=true",), ["-fcuda-flush-denormals-to-zero"], []),
        (("--prec-div=false",), ["-mllvm=-nvptx-prec-divf32=1"], []),
        (("--fmad", "false"), ["-ffp-contract=off"], []),
        (("--generate-line-info",), ["-gline-directives-only"], []),
        (("-g",), [], ["-g"]),
    ],
)  # fmt: skip
def test_what_device_code_is_compiled_with(  # type: ignore[no-untyped-def]
    steps, given: tuple[str, ...], has: list[str], lacks: list[str]
) -> None:
    (command,) = steps(*given).device
    assert set(has) <= set(command)
    assert not set(lacks) & set(command)


def test_the_level_of_o_is_the_host_s(steps) -> None:  # type: ignore[no-untyped-def]
    assert [one for one in steps("-O1", "-g").host if re.fullmatch(r"-O\d|-g", one)] == ["-O3", "-O1", "-g"]
    assert [one for one in steps("--optimize", "2").host if one.startswith("-O")] == ["-O3", "-O2"]


@pytest.mark.parametrize(
    "given",
    ["--expt-relaxed-constexpr", "--extended-lambda", "-expt-extended-lambda", "--restrict", "-m64", "--threads 4",
     "-t=4",
     "--split-compile=0", "--frandom-seed=x", "--objdir-as-tempdir", "--keep", "-Xcudafe --diag_suppress=20012",
     "-diag-suppress 177", "-Wno-deprecated-gpu-targets", "--allow-unsupported-compiler", "-rdc=false",
     "-static-global-template-stub=false", "--default-stream legacy", "-MP"],
)  # fmt: skip
def test_what_means_nothing_to_clang_leaves_no_trace(steps, given: str) -> None:  # type: ignore[no-untyped-def]
    assert steps(*given.split()).commands == steps().commands


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--no-such-option", "the option '--no-such-option' is not known here"),
        ("-fPIC", "the option '-fPIC' is not known here"),
        ("-rdc=true", "-rdc=true: relocatable device code needs NVIDIA's nvlink"),
        ("--relocatable-device-code true", "-rdc=true: relocatable device code"),
        ("-dc", "-dc: relocatable device code"),
        ("--device-c", "--device-c: relocatable device code"),
        ("-dlto", "-dlto: relocatable device code"),
        ("-lto", "-lto: relocatable device code"),
        ("-G", "-G: device code for a debugger is not made; -lineinfo gives line numbers"),
        ("-arch=native", "-arch=native: name architectures one by one"),
        ("-arch=all-major", "-arch=all-major: name architectures one by one"),
        ("-gencode=sm_90", "-gencode sm_90: is not of the form"),
        ("-gencode arch=compute_90,code=compute_80", "code 'compute_80' cannot be made of compute_90"),
        ("-gencode arch=compute_90,code=lto_90", "code 'lto_90' cannot be made of compute_90"),
        ("--prec-div=maybe", "-prec-div=maybe: is none of true, false"),
        ("--default-stream=mine", "-stream=mine: is none of legacy, null, per-thread"),
        ("-o", "-o needs a word after it"),
        ("b.cu -o x.o", "one file cannot be the object of 2 sources"),
        ("-ptx -gencode arch=compute_90,code=sm_90 -gencode arch=compute_80,code=sm_80", "one ptx is for one arch"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(capsys: pytest.CaptureFixture[str], given: str, words: str) -> None:
    assert words in refused(capsys, "-c", "a.cu", *given.split())


def test_static_cudart_is_refused_only_where_it_would_be_linked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no public package of this release holds libcudart_static.a" in refused(
        capsys, "a.cu", "-cudart=static"
    )
    assert read("-c", "a.cu", "-cudart", "static").mode == "object"


def test_no_input_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no input files" in refused(capsys, "-c", "a.o")


def test_every_option_of_the_table_is_known_with_one_dash_and_two() -> None:
    assert {name.lstrip("-") for name in options.OPTIONS} == {
        one for row in options.ROWS for one in row.split()
    }
    assert len(options.OPTIONS) == 2 * sum(len(row.split()) for row in options.ROWS), "no name stands twice"


def test_files_of_arguments_are_read_in(tmp_path: Path) -> None:
    (tmp_path / "more").write_text('-DA="x y"\n-I inc\n')
    for given in (["-optf", f"{tmp_path}/more"], [f"--options-file={tmp_path}/more"], [f"@{tmp_path}/more"]):
        assert read("-c", "a.cu", *given).words["both"] == ["-DA=x y", "-Iinc"]


# Architectures.


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ("", {"52": ["sm_52", "compute_52"]}),
        ("-arch=sm_90a", {"90a": ["sm_90a", "compute_90a"]}),
        ("-arch compute_80", {"80": ["compute_80"]}),
        ("--gpu-architecture=compute_80 --gpu-code=sm_80,sm_86", {"80": ["sm_80", "sm_86"]}),
        ("-gencode=arch=compute_90,code=sm_90 --generate-code=arch=compute_90,code=compute_90",
         {"90": ["sm_90", "compute_90"]}),
        ('-gencode arch=compute_100,code="[sm_100,compute_100]"', {"100": ["sm_100", "compute_100"]}),
    ],
)  # fmt: skip
def test_architectures(given: str, codes: dict[str, list[str]]) -> None:
    assert read("-c", "a.cu", *given.split()).codes == codes


def test_a_unit_is_made_in_steps(steps) -> None:  # type: ignore[no-untyped-def]
    found = steps(
        "-gencode=arch=compute_80,code=[sm_80,sm_86]", "-gencode=arch=compute_90a,code=[sm_90a,compute_90a]"
    )
    programs = [Path(one[0]).name for one in found.commands]
    assert programs == ["clang++", "ptxas", "ptxas", "clang++", "ptxas", "fatbinary", "clang++"]
    assert [next(one for one in command if "offload-arch" in one) for command in found.device] == [
        "--offload-arch=sm_80", "--offload-arch=sm_90a",
    ]  # fmt: skip
    assert all("-D__CUDA_ARCH_LIST__=800,900" in one for one in (*found.device, found.host))
    (packing,) = found.of("fatbinary")
    assert packing == [
        "/kit/bin/fatbinary", "-64", "--create", "/scratch/unit.fatbin", "--compress-mode=speed",
        "--image3=kind=elf,sm=80,file=/scratch/80-80.cubin", "--image3=kind=elf,sm=86,file=/scratch/80-86.cubin",
        "--image3=kind=elf,sm=90a,file=/scratch/90a-90a.cubin", "--image3=kind=ptx,sm=90a,file=/scratch/90a.ptx",
    ]  # fmt: skip
    assert found.host[-1] == "a.o"
    assert "--gcc-install-dir=/usr/lib/gcc/x/12" in found.host


def test_the_compile_cache_stands_before_the_steps_that_give_ptx(  # type: ignore[no-untyped-def]
    steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(nvcc.LAUNCHER, "'/a b/sccache'")
    found = steps()
    assert [one[0] for one in found.commands if "clang" in " ".join(one[:2])] == [
        "/a b/sccache",
        "/kit/llvm/bin/clang++",
    ]


@pytest.mark.parametrize(("mode", "count"), [("-ptx", 1), ("-cubin", 2), ("-fatbin", 3)])
def test_less_than_an_object(steps, mode: str, count: int) -> None:  # type: ignore[no-untyped-def]
    found = steps(mode)
    assert len(found.commands) == count
    assert found.commands[-1][-1] == "a.o" or "a.o" in found.commands[-1]


def test_a_source_without_device_code_is_the_host_compiler_s(  # type: ignore[no-untyped-def]
    tmp_path: Path, capsys: pytest.CaptureFixture[str], steps
) -> None:
    steps()
    plan = read("-c", "a.cpp", "-o", "a.o", "--dryrun", "-ccbin", str(tmp_path), "-DA", "-O2")
    nvcc.Work(plan, "/kit", CUDA, "/scratch").run()
    assert shlex.split(capsys.readouterr().err) == [
        f"{tmp_path}/g++", "-c", "-DA", "-O2", "-isystem", "/kit/include", "a.cpp", "-o", "a.o",
    ]  # fmt: skip


def test_what_it_says_of_itself_is_parsed_as_nvcc_s() -> None:
    said = nvcc.version({"cuda": CUDA, "clang": "Debian clang 22.1.8", "fatbinary": "13.0.88"})
    assert re.search(r"release (\S+), V(\S+)", said).groups() == ("12.8", CUDA)  # type: ignore[union-attr]
    assert said.startswith("nvcc: Debian clang 22.1.8 stands in its place; no NVIDIA compiler runs\n")
    assert "NVIDIA (R)" not in said


# Code for nvcc alone.

ONLY = """\
#ifdef OTHER
#endif
#if defined(__NVCC__)
int a;
#else
int b = NOTHING;
#endif
int c = NOTHING;
#ifdef __clang__
#error "this wants nvcc"
#endif
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            6,
            "(depends on __NVCC__: '#if defined(__NVCC__)' in line 3; clang, which compiles here, defines __clang__",
        ),
        (10, "(depends on __clang__: '#ifdef __clang__' in line 9; "),
        (3, "(depends on __NVCC__: "),
        (8, ""),
        (99, ""),
    ],
)
def test_an_error_in_code_that_asks_for_nvcc_names_the_macro(tmp_path: Path, line: int, told: str) -> None:
    (tmp_path / "a.cu").write_text(ONLY)
    place = f"{tmp_path}/a.cu:{line}"
    said = nvcc.explain(f"In file included from x\n{place}:9: error: use of 'NOTHING'\n  6 | int b\n")
    if told:
        assert said.startswith(f"{place}: error: use of 'NOTHING' {told}"), said
    else:
        assert said == ""


def test_an_error_without_a_place_is_not_explained(tmp_path: Path) -> None:
    assert nvcc.explain("ptxas fatal: x") == ""
    assert nvcc.explain(f"{tmp_path}/gone.cu:1:2: error: x") == ""
