"""Compiles: which message a failure deserves, what a build may see, whether a result still holds."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from retread.arch import Arch
from retread.compile import stage
from retread.compile.jobserver import Failed
from retread.compile.room import Layout
from retread.compile.sandbox import Cache, Walled
from retread.compile.schedule import Budget
from retread.compile.stage import CacheFacts
from retread.doors import fs, walls
from retread.environment.host import Compiler, Python
from retread.errors import CompileError, RecipeError, StoreError
from retread.recipe.model import Build, Pin, Recipe, Sdist, Target
from retread.records import Sha256

DIGEST = Sha256(64 * "a")
BUILD = Build(
    python=">=3.10", requires=(), environment={"LIST": "{torch-architectures}", "HOME_OF": "{cuda-home}"}
)
TARGET = Target(
    cuda="13.0",
    torch=">=2.11",
    revision=1,
    architectures=(Arch("8.0"), Arch("9.0a")),
    ptx=(Arch("9.0a"),),
    build=BUILD,
)
RECIPE = Recipe(
    name="demo-1.2",
    project="demo",
    version="1.2",
    summary="A demonstration",
    pin=Pin(repository="https://example.org/demo", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST),
    native_inputs=("setup.py",),
    targets={"cu130": TARGET},
)


def order(root: Path, **changes: Any) -> stage.Order:
    found = stage.Order(
        recipe=RECIPE,
        target=TARGET,
        build=BUILD,
        files={},
        native_digest="n",
        setting="s",
        time=1_700_000_000,
        toolkit=root / "kit",
        compiler=COMPILER,
        python=PYTHON,
        environment=root / "env",
    )
    return found._replace(**changes)


PYTHON = Python(
    executable="/usr/bin/python3.12", prefix="/usr", version="3.12.1", number="3.12", digest=DIGEST
)
COMPILER = Compiler(c="/usr/bin/gcc-13", cxx="/usr/bin/g++-13", version="g++ 13.2", digest=DIGEST)
HERE = Walled(PYTHON, COMPILER, {})


def means(root: Path, **changes: Any) -> stage.Means:
    found = stage.Means(
        room=root,
        budget=Budget(2, 1 << 30),
        measures={},
        cache=Cache(None, root / "cache", anew=False),
        caller={},
        file=lambda path: root / path,
        changed=lambda _: None,
        sandbox=HERE,
    )
    return found._replace(**changes)


def failure(root: Path, log: str = "", *failed: Failed, code: int = 1, peak: int = 3 << 30) -> Exception:
    (root / "build.log").write_text(log)
    return stage._failure(order(root), means(root), code, list(failed), peak)


def unit(said: str, code: int = 1) -> Failed:
    return Failed("csrc/a.cu", ("nvcc", "-c", "csrc/a.cu"), code, said)


# What went wrong.


@pytest.mark.parametrize(
    ("said", "first"),
    [
        (
            'In file included from x.h:\ncsrc/a.cu(12): warning #177-D: unused\ncsrc/a.cu(12): error: identifier "x"\n'
            '1 error detected in the compilation of "csrc/a.cu".\n',
            'csrc/a.cu(12): error: identifier "x"',
        ),
        (
            "a.cpp:3:10: fatal error: x.h: No such file or directory\n",
            "a.cpp:3:10: fatal error: x.h: No such file or directory",
        ),
        (
            "nvcc fatal   : Unsupported gpu architecture 'compute_70'\n",
            "nvcc fatal   : Unsupported gpu architecture 'compute_70'",
        ),
        (
            "ptxas a.ptx, line 5; error   : Feature needs sm_90\nptxas fatal   : aborted\n",
            "ptxas a.ptx, line 5; error   : Feature needs sm_90",
        ),
        ("it is all wrong\n\n", "it is all wrong"),
        ("", "it said nothing"),
        (
            "a.cpp:7:3: error: 'bad_alloc' is not a member of 'std'\n",
            "a.cpp:7:3: error: 'bad_alloc' is not a member of 'std'",
        ),
    ],
)
def test_a_unit_that_does_not_compile(tmp_path: Path, said: str, first: str) -> None:
    error = failure(tmp_path, "the log", unit(said))
    assert isinstance(error, CompileError)
    assert str(error).splitlines() == [
        f"demo-1.2: csrc/a.cu does not compile: {first}",
        "  - command: nvcc -c csrc/a.cu",
        f"  next: the whole log is {tmp_path}/build.log",
    ]


def test_of_several_the_first_that_failed_is_told(tmp_path: Path) -> None:
    second = Failed("csrc/b.cu", ("nvcc",), 1, "b: error: too\n")
    assert "csrc/a.cu does not compile: a: error: no" in str(
        failure(tmp_path, "", unit("a: error: no\n"), second)
    )


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("", -9),
        ("", 137),
        ("g++: fatal error: Killed signal terminated program cc1plus\n", 1),
        ("nvcc error   : 'cicc' died due to signal 9 (Kill signal)\n", 9),
        ("ptxas fatal   : Memory allocation failure\n", 1),
        ("cc1plus: out of memory allocating 65536 bytes after a total of 1 bytes\n", 1),
        ("virtual memory exhausted: Cannot allocate memory\n", 1),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", 134),
        ("LLVM ERROR: out of memory\n", 1),
    ],
)
def test_a_unit_that_ran_out_of_memory(tmp_path: Path, said: str, code: int) -> None:
    error = failure(tmp_path, "", unit(said, code))
    assert isinstance(error, CompileError)
    message, hint = str(error).splitlines()
    assert message == "demo-1.2: csrc/a.cu ran out of memory; the build held 3.0 GiB in all at its peak"
    assert "--jobs 1" in hint
    assert "--memory" in hint
    assert "what is compiled stays" in hint


@pytest.mark.parametrize("by", ["unit", "log"])
def test_a_full_disk(tmp_path: Path, by: str) -> None:
    said = "fatal error: error writing to /tmp/x.s: No space left on device\n"
    error = failure(tmp_path, "", unit(said)) if by == "unit" else failure(tmp_path, said)
    assert isinstance(error, StoreError)
    assert str(error).splitlines() == [
        f"demo-1.2: the disk is full while compiling in {tmp_path}",
        "  next: make room, or point RETREAD_STORE to another disk; what is compiled stays. If it was the build's own"
        " /tmp, which holds a quarter of the memory: give it fewer jobs (--jobs)",
    ]


TRACEBACK = """\
running bdist_wheel
error: this is an early word
Traceback (most recent call last):
  File "setup.py", line 3, in <module>
    import torch
ModuleNotFoundError: No module named 'torch'

ERROR Backend subprocess exited when trying to invoke build_wheel
"""


def test_the_build_s_own_traceback_is_told_by_its_last_line(tmp_path: Path) -> None:
    error = failure(tmp_path, TRACEBACK, code=1)
    assert isinstance(error, CompileError)
    assert str(error).splitlines() == [
        "demo-1.2: the build failed with exit code 1: ModuleNotFoundError: No module named 'torch'",
        f"  next: the whole log is {tmp_path}/build.log",
    ]


@pytest.mark.parametrize(
    "said",
    [
        "urllib3.exceptions.NewConnectionError: Failed to establish a new connection: [Errno 101]",
        "fatal: unable to access 'https://github.com/x/': Could not resolve host: github.com",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
        "OSError: [Errno 101] Network is unreachable",
    ],
)
def test_a_build_that_wants_the_network_is_told_what_to_do(tmp_path: Path, said: str) -> None:
    message, hint = str(failure(tmp_path, f"fetching\n{said}\n")).splitlines()
    assert message == f"demo-1.2: the build failed with exit code 1: {said}"
    assert hint.startswith(
        "  next: a build has no network: lock what it wants (build.requires) or patch it out; "
    )


def test_a_cache_that_does_not_start_is_told(tmp_path: Path) -> None:
    log = "retread: the compile cache did not start:\nsccache: error: Server startup failed\n"
    assert "exit code 97: sccache: error: Server startup failed" in str(failure(tmp_path, log, code=97))


# What may be used again.


def facts(**outside: str) -> stage.CompileFacts:
    return stage.CompileFacts(
        schema=1, wheel="demo.whl", sha256=DIGEST, native_digest="n", units=(), compiled=0, seconds=1, peak=1,
        jobs=1, network=False, fixed=True, cache=None, read=(),
        outside={path: Sha256(digest) for path, digest in outside.items()},
    )  # fmt: skip


def test_a_result_holds_as_long_as_the_machine_s_headers_are_the_same(tmp_path: Path) -> None:
    header = tmp_path / "stdio.h"
    header.write_text("1")
    found = facts(**{str(header): fs.sha256(header)})
    assert stage.still_true(found)
    header.write_text("2")
    assert not stage.still_true(found)
    header.unlink()
    assert not stage.still_true(found)
    assert stage.still_true(facts())


def test_facts_come_back_as_they_were_left(tmp_path: Path) -> None:
    (tmp_path / stage.FACTS).write_bytes(msgspec.json.encode(facts(a="b")))
    assert stage.load(tmp_path) == facts(a="b")


def test_code_made_of_what_no_native_input_names_is_refused() -> None:
    files = {f"demo/{number:02}.txt": "1" for number in range(25)} | {"setup.py": "2"}
    stage.demand_covered(RECIPE, files, ["setup.py", "build/generated.py"])
    with pytest.raises(RecipeError) as caught:
        stage.demand_covered(RECIPE, files, ["setup.py", "demo/01.txt"])
    assert str(caught.value).splitlines() == [
        "demo-1.2: native-inputs leaves out 1 file that the build compiles or runs",
        "  - demo/01.txt",
        "  next: add them: a patch on one would be served with stale code",
    ]
    with pytest.raises(RecipeError) as caught:
        stage.demand_covered(RECIPE, files, files)
    assert (len(caught.value.faults), caught.value.faults[-1]) == (21, "... and 5 more")


STATS = (
    b'{"stats": {"cache_hits": {"counts": {"CUDA": 2, "C/C++": 1}}, "cache_misses": {"counts": {"CUDA": 4}}}}'
)


@pytest.mark.parametrize(
    ("text", "found"), [(STATS, CacheFacts(hits=3, misses=4)), (b"", None), (b"{}", None), (None, None)]
)
def test_what_the_cache_says(tmp_path: Path, text: bytes | None, found: CacheFacts | None) -> None:
    if text is not None:
        (tmp_path / "cache.json").write_bytes(text)
    assert stage._cache_facts(tmp_path, None) == found


# What a build sees.

LAYOUT = Layout(
    True, "/mnt/retread/room/source", "/mnt/retread/room", "/mnt/retread/toolkit", "/mnt/retread/environment",
    (("/store/room/source", "/mnt/retread/room/source", "rw"), ("/store/kit", "/mnt/retread/toolkit", "ro")),
)  # fmt: skip
CALLER = {
    "PATH": "/home/me/bin", "CUDA_HOME": "/opt/cuda", "GITHUB_TOKEN": "secret", "CPATH": "/home/me/include",
    "AWS_SECRET_ACCESS_KEY": "cache's own", "SCCACHE_BUCKET": "mine", "TORCH_CUDA_ARCH_LIST": "7.0",
}  # fmt: skip


def command(root: Path, **changes: Any) -> tuple[list[str], dict[str, str]]:
    layout = changes.pop("layout", LAYOUT)
    work = stage._work(order(root), means(root, **{"caller": CALLER, **changes}), layout, Path("/control"))
    given, outer = HERE.command(work)
    return [str(one) for one in given], outer


def test_nothing_of_the_caller_reaches_the_build(tmp_path: Path) -> None:
    given, outer = command(tmp_path)
    inner = given[given.index("--") :] if given.count("--") == 1 else given[given.index("env") :]
    assert inner[inner.index("env") + 1] == "-i"
    text = "\n".join(given)
    for value in ("/home/me", "/opt/cuda", "secret", "cache's own", "7.0"):
        assert value not in text
    assert "LIST=8.0;9.0a+PTX" in inner
    assert "HOME_OF=/mnt/retread/room/cuda" in inner
    assert "SOURCE_DATE_EPOCH=1700000000" in inner
    (path,) = [one for one in inner if one.startswith("PATH=")]
    assert path.startswith("PATH=/mnt/retread/room/bin:/mnt/retread/room/cuda/bin:")
    assert {name for name in CALLER if outer.get(name) == CALLER[name]} == {
        "AWS_SECRET_ACCESS_KEY",
        "SCCACHE_BUCKET",
    }


def test_a_build_sees_its_folders_and_no_network_and_its_cache_one_for_another_machine_alone(
    tmp_path: Path,
) -> None:
    cache = Cache(Path("/elsewhere/sccache"), tmp_path / "kept", anew=False)
    given, _ = command(tmp_path, cache=cache)
    at = given.index("--", given.index("sh"))
    server, build = (
        shlex.split(given[at - 1]),
        given[at + 1 : given.index("/mnt/retread/environment/bin/python")],
    )
    assert given[given.index("sh") + 2 : at - 1] == ["/control/tmp", str(walls.limit()), "/elsewhere/sccache"]
    assert build[:2] == ["env", "-i"], "what leads behind the walls can be seen there"
    for one in (server, build):
        shown = {(word, *one[n + 1 : n + 3]) for n, word in enumerate(one) if word in {"--bind", "--ro-bind"}}
        assert ("--bind", "/store/room/source", "/mnt/retread/room/source") in shown
        assert ("--ro-bind", "/store/kit", "/mnt/retread/toolkit") in shown
        assert "--unshare-all" in one
        assert (str(tmp_path / "kept") in one) == (one is server)
    assert "--share-net" in server
    assert "--share-net" not in build
    given, _ = command(tmp_path, cache=cache, caller={})
    assert "--share-net" not in " ".join(given)


def test_without_walls_a_build_runs_where_it_is(tmp_path: Path) -> None:
    without, _ = command(tmp_path, layout=Layout(False, "/r/source", "/r", "/k", "/e", ()))
    assert without[0] == "sh"
    assert without[2:8] == ["-", "0", "-", "", "--", "env"]


@pytest.mark.parametrize("ahead", [False, True])
def test_ninja_goes_ahead_of_a_build_that_may_compile_as_last_time(tmp_path: Path, ahead: bool) -> None:
    layout = Layout(False, "/r/source", "/r", "/k", "/e", ())
    work = stage._work(order(tmp_path), means(tmp_path), layout, Path("/c"), ahead=ahead)
    found, _ = HERE.command(work)
    build = ["/e/bin/python", "-m", "build"]
    first = ["/e/bin/python", "-IS", "/r/bin/ahead", "/r/home/ninja.json"] if ahead else []
    start = found.index("/e/bin/python")
    assert found[start : start + len(first) + 3] == [*first, *build]


def test_the_cache_s_own_variables_are_defaults_that_a_caller_overrides(tmp_path: Path) -> None:
    _, outer = command(tmp_path, cache=Cache(Path("/bin/sccache"), tmp_path / "cache", anew=False))
    assert outer["SCCACHE_DIR"] == f"{tmp_path}/cache"
    _, outer = command(tmp_path, caller={"SCCACHE_DIR": "/theirs"})
    assert outer["SCCACHE_DIR"] == "/theirs"


@pytest.mark.parametrize("anew", [False, True])
def test_who_compiles_anew_says_so_to_the_cache_itself(tmp_path: Path, anew: bool) -> None:
    cache = Cache(Path("/bin/sccache"), tmp_path / "cache", anew=anew)
    found = stage._work(order(tmp_path), means(tmp_path, cache=cache), LAYOUT, Path("/c"))
    assert found.variables.get("SCCACHE_RECACHE") == ("1" if anew else None)


@pytest.mark.parametrize(
    ("cuda", "cache", "seed"),
    [
        ("12.8", None, False),
        ("12.9", None, True),
        ("13.0", None, True),
        ("13.0", Path("/bin/sccache"), False),
    ],
)
def test_nvcc_gets_a_seed_when_it_knows_one_and_no_cache_stands_between(
    tmp_path: Path, cuda: str, cache: Path | None, seed: bool
) -> None:
    target = msgspec.structs.replace(TARGET, cuda=cuda)
    control = stage._control(
        order(tmp_path, target=target),
        means(tmp_path, cache=Cache(cache, tmp_path, anew=False)),
        LAYOUT,
        Path("/c"),
        {"nvcc": "/x"},
    )
    assert control["seed"] is seed
    assert control["launcher"] == ([str(cache)] if cache else [])


# A machine that cannot do it.


def kit(root: Path, body: str) -> Path:
    nvcc = root / "kit" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f'#!/bin/sh\necho "$@" >{root}/asked\n{body}\n')
    nvcc.chmod(0o755)
    return root


def test_a_compiler_that_is_tried_is_tried_for_every_architecture(tmp_path: Path) -> None:
    stage._try_tools(order(kit(tmp_path, "exit 0")), means(tmp_path))
    asked = (tmp_path / "asked").read_text()
    assert "-ccbin /usr/bin/g++-13" in asked
    codes = [one for one in asked.split() if one.startswith("arch=")]
    assert codes == [
        "arch=compute_80,code=sm_80",
        "arch=compute_90a,code=sm_90a",
        "arch=compute_90a,code=compute_90a",
    ]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (
            "host_config.h:1:2: error: #error -- unsupported GNU version! gcc versions later than 13",
            "CXX=g++-13",
        ),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_80'", "what its target's CUDA knows"),
    ],
)
def test_a_compiler_that_cannot_do_it_is_told_before_the_long_build(
    tmp_path: Path, said: str, hint: str
) -> None:
    with pytest.raises(CompileError) as caught:
        stage._try_tools(order(kit(tmp_path, f'echo "{said}" >&2; exit 1')), means(tmp_path))
    assert caught.value.message == (
        f"demo-1.2: CUDA 13.0 and g++ 13.2 do not compile an empty kernel: {said}"
    )
    assert hint in caught.value.hint
