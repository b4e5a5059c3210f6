"""The compilers' stand-in, run as the program that it is: what passes, what is added, what is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retread.compile.jobserver import Jobserver
from retread.compile.schedule import GIB, Budget
from retread.recipe import native
from standins import SOUND, Bench
from tinycuda import skip_without


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def server(bench: Bench) -> Iterator[Jobserver]:
    with Jobserver(bench.server, tree=bench.source, budget=Budget(2, 64 * GIB), measures={}) as found:
        yield found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["-shared", "a.o", "b.o", "-o", "_C.so"],
        ["-c", "a.o", "-o", "b.o"],
        ["a.cu", "-o", "program"],
        ["--dryrun", "-c", "a.cu", "-o", "a.o"],
        ["-E", "a.cu"],
        [],
    ],
    ids=" ".join,
)
def test_what_compiles_no_unit_goes_through_as_it_is_and_asks_nobody(
    bench: Bench, arguments: list[str]
) -> None:
    bench.script("nvcc", "echo said; exit 3")
    done = bench.run("nvcc", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")
    assert bench.given() == (arguments or [""])


def test_a_unit_is_compiled_with_leave_and_reported(bench: Bench, server: Jobserver) -> None:
    (bench.source / "deps").mkdir()
    done = bench.run("nvcc", "-c", "a.cu", "-o", "out.o", "-MD", "-MF", "deps/a.d")
    assert (done.returncode, done.stdout, done.stderr) == (0, "compiled\n", "")
    assert (bench.source / "out.o").read_text() == "object\n"
    (one,) = server.compiled
    assert (one.unit.name, one.unit.tool) == ("a.cu", "nvcc")
    assert (one.output, one.depfile) == (bench.source / "out.o", bench.source / "deps/a.d")
    assert one.folder == bench.source
    assert bench.given() == ["-c", "a.cu", "-o", "out.o", "-ccbin", f"{bench.root}/host/g++"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("nvcc", ["--compile", "a.cu", "-o", "a.o"]),
        ("nvcc", ["-dc", "a.cu", "-o", "a.o"]),
        ("nvcc", ["--device-c", "a.cu", "-o", "a.o"]),
        ("gcc", ["-c", "a.c", "-o", "a.o"]),
        ("g++", ["-c", "a.cpp", "-o", "a.o"]),
        ("c++", ["-c", "a.cc", "-o", "a.o"]),
        ("g++", ["-c", "a.cxx"]),
    ],
)
def test_all_that_makes_an_object_is_a_unit(
    bench: Bench, server: Jobserver, tool: str, arguments: list[str]
) -> None:
    assert bench.run(tool, *arguments).returncode == 0
    (one,) = server.compiled
    assert (one.unit.tool, one.output) == (tool, bench.source / "a.o")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-MMD", "-MF", "d/a.d"], []),
        (["-O2", "-MD", "-MP", "-MF", "d/a.d", "-MT", "x.o", "-MQ", "y.o", "-g"], ["-O2", "-g"]),
        (["--generate-nonsystem-dependencies-with-compile", "--dependency-output", "d/a.d"], []),
        (
            [
                "--generate-dependencies-with-compile",
                "--dependency-output=d/a.d",
                "--dependency-target-name=x",
            ],
            [],
        ),
        (["--dependency-target-name", "x", "-MF=d/a.d", "-O2"], ["-O2"]),
        (["-O2"], ["-O2"]),
        (["-MD", "-O2"], ["-O2"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("tool", ["g++", "nvcc"])
def test_no_compiler_makes_a_depfile_of_its_own(
    bench: Bench, server: Jobserver, tool: str, given: list[str], kept: list[str]
) -> None:
    (bench.source / "d").mkdir()
    assert bench.run(tool, "-c", "a.cpp", *given, "-o", "a.o").returncode == 0
    host = ["-ccbin", f"{bench.root}/host/g++"] if tool == "nvcc" else []
    assert bench.given() == ["-c", "a.cpp", *kept, "-o", "a.o", *host]
    (one,) = server.compiled
    assert one.depfile == bench.source / ("d/a.d" if any("d/a.d" in word for word in given) else "a.o.d")
    assert one.depfile.read_text().startswith("a.o: \\\n")


def test_the_places_of_this_build_are_kept_out_of_the_object(bench: Bench, server: Jobserver) -> None:
    bench.control["prefixes"] = {"/here/room": "/retread/room", "/here/kit": "/retread/toolkit"}
    maps = ["-ffile-prefix-map=/here/room=/retread/room", "-ffile-prefix-map=/here/kit=/retread/toolkit"]
    bench.run("g++", "-c", "a.cpp", "-o", "a.o")
    assert bench.given()[-2:] == maps
    bench.run("nvcc", "-ccbin", "g++", "-c", "a.cu", "-o", "a.o")
    assert bench.given()[-4:] == ["-Xcompiler", maps[0], "-Xcompiler", maps[1]]
    assert len(server.compiled) == 2


def test_a_seed_goes_to_nvcc_alone_and_only_when_it_is_asked_for(bench: Bench, server: Jobserver) -> None:
    seed = ["--frandom-seed=a.o", "--objdir-as-tempdir"]
    unit = ["-ccbin", "g++", "-c", "a.cu", "-o", "build/temp/a.o"]
    (bench.source / "build/temp").mkdir(parents=True)
    bench.run("nvcc", *unit)
    assert not set(seed) & set(bench.given())
    bench.control["seed"] = True
    bench.run("nvcc", *unit)
    assert bench.given() == [*unit, *seed]
    bench.run("g++", *unit)
    assert bench.given() == unit
    assert len(server.compiled) == 3


@pytest.mark.parametrize("option", ["-ccbin", "--compiler-bindir"])
def test_nvcc_s_host_compiler_is_the_one_that_notes(bench: Bench, server: Jobserver, option: str) -> None:
    for more in (["-c", "a.cu", "-o", "a.o"], ["--version"]):
        bench.run("nvcc", option, f"{bench.root}/bin/g++", *more)
        assert bench.given()[:2] == [option, f"{bench.root}/host/g++"]
        assert bench.given().count("-ccbin") <= 1
    assert len(server.compiled) == 1


def test_nvcc_gets_the_host_compiler_that_notes_when_nobody_names_one(
    bench: Bench, server: Jobserver
) -> None:
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert bench.given()[-2:] == ["-ccbin", f"{bench.root}/host/g++"]
    for own in ("-ccbin=/other/g++", "--compiler-bindir=/other/g++"):
        bench.run("nvcc", own, "-c", "a.cu", "-o", "a.o")
        assert own in bench.given()
        assert "-ccbin" not in bench.given()
    assert len(server.compiled) == 3


def test_a_compiler_below_a_compiler_asks_nobody(bench: Bench) -> None:
    """nvcc runs the gcc of the PATH when nobody names one; if that waited for leave, it would wait for its parent."""
    bench.script("nvcc", f"PATH={bench.root}/bin:$PATH gcc -x c++ -c x.cudafe1.cpp -o a.o")
    with Jobserver(bench.server, tree=bench.source, budget=Budget(1, GIB), measures={}) as server:
        done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
        assert (done.returncode, done.stdout) == (0, "compiled\n")
        assert [one.unit.name for one in server.compiled] == ["a.cu"]
    assert bench.given() == ["-x", "c++", "-c", "x.cudafe1.cpp", "-o", "a.o"]


def test_the_cache_runs_the_real_compiler(bench: Bench, server: Jobserver) -> None:
    cache = bench.root / "sccache"
    cache.write_text(f'#!/bin/sh\necho "$1" >{bench.root}/cached\nexec "$@"\n')
    cache.chmod(0o755)
    bench.control["launcher"] = [str(cache)]
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert (bench.root / "cached").read_text() == f"{bench.root}/real/nvcc\n"
    assert bench.run("nvcc", "a.o", "-o", "program").returncode == 0
    assert (bench.source / "a.o").exists()
    assert len(server.compiled) == 1


def test_a_compiler_of_steps_is_told_of_the_cache(bench: Bench, server: Jobserver) -> None:
    bench.script("nvcc", f'echo "$RETREAD_CUDA_LAUNCHER" >{bench.root}/told; {SOUND}')
    bench.control |= {"launcher": ["/a b/sccache"], "stepwise": ["nvcc"]}
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert (bench.root / "told").read_text() == "'/a b/sccache'\n"
    bench.control["launcher"] = []
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert (bench.root / "told").read_text() == "\n"


# The depfile.


def note(text: str, name: str = "1.d") -> str:
    """Return what a pass of a scripted compiler does that notes what it read."""
    return f"cat >\"$RETREAD_READ/{name}\" <<'END'\n{text}\nEND\n"


def listed(depfile: Path) -> list[str]:
    return list(native.dependencies(depfile.read_text()))


def test_the_depfile_names_all_that_the_passes_read_once(bench: Bench, server: Jobserver) -> None:
    for name in ("a.cu", "one.h", "two.h", "other.h"):
        (bench.source / name).touch()
    first = note(f"a.o: a.cu {bench.source}/one.h \\\n  two.h")
    bench.script("nvcc", first + note("a.o : \\\n a.cu \\\n two.h \\\n other.h", "2.d") + SOUND)
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o", "-MD", "-MF", "deps.d").returncode == 0
    depfile = server.compiled[0].depfile
    assert depfile.read_text() == f"a.o: \\\n {bench.source}/one.h \\\n a.cu \\\n other.h \\\n two.h\n"
    assert not (bench.source / "a.o.d").exists()


def test_what_a_compile_makes_for_itself_is_not_in_the_depfile(bench: Bench, server: Jobserver) -> None:
    """Ninja takes an object for old as long as something is missing that it was made of."""
    (bench.source / "a.cu").touch()
    bench.script("nvcc", note("a.o: /tmp/gone/a.cudafe1.cpp a.cu gone\\ too.c") + SOUND)
    assert bench.run("nvcc", "-c", "a.cu", "-o", "a.o").returncode == 0
    assert listed(server.compiled[0].depfile) == ["a.cu"]


def test_the_passes_of_two_units_that_run_at_one_time_do_not_mix(bench: Bench, server: Jobserver) -> None:
    for name in ("a.cu", "b.cu"):
        (bench.source / name).touch()
    wait = "while ! [ -e here-a.cu ] || ! [ -e here-b.cu ]; do sleep 0.01; done\n"
    bench.script("nvcc", 'touch "here-$2"\n' + wait + 'echo "x.o: $2" >"$RETREAD_READ/1.d"\n' + SOUND)
    with ThreadPoolExecutor() as pool:
        units = [pool.submit(bench.run, "nvcc", "-c", f"{name}.cu", "-o", f"{name}.o") for name in "ab"]
    assert [one.result().returncode for one in units] == [0, 0]
    assert {one.unit.name: listed(one.depfile) for one in server.compiled} == {
        "a.cu": ["a.cu"],
        "b.cu": ["b.cu"],
    }


NAMES = ["plain.h", "x y.h", "n#1.h", "cost$.h", "back\\slash.h", "two\\\\.h", "b\\ c\\#.h", "a:b.h"]


def test_any_name_comes_through_a_real_compiler_and_the_depfile(bench: Bench, server: Jobserver) -> None:
    skip_without("gcc")
    bench.real_host("gcc", shutil.which("gcc") or "")
    folder = bench.source / "two words $"
    folder.mkdir()
    for name in NAMES:
        (folder / name).touch()
    (folder / "a b.c").write_text("".join(f'#include "{name}"\n' for name in NAMES))
    done = bench.run("gcc", "-c", "two words $/a b.c", "-o", "two words $/a b.o", "-MMD", "-MP")
    assert (done.returncode, done.stdout) == (0, "")
    (one,) = server.compiled
    assert (one.unit.name, one.output) == ("two words $/a b.c", folder / "a b.o")
    assert one.depfile == folder / "a b.o.d"
    assert {path for path in listed(one.depfile) if not path.startswith("/")} == {
        f"two words $/{name}" for name in ["a b.c", *NAMES]
    }
    assert one.depfile.read_text().startswith("two\\ words\\ $$/a\\ b.o: \\\n")


def test_what_only_one_pass_for_a_gpu_reads_is_in_the_depfile(bench: Bench, server: Jobserver) -> None:
    """As nvcc does it: one pass for each architecture, then one for the host, all by the compiler it was given."""
    skip_without("g++")
    bench.real_host("g++", shutil.which("g++") or "")
    for name in ("a.h", "old.h", "new.h", "host.h"):
        (bench.source / name).touch()
    (bench.source / "a.cu").write_text(
        '#include "a.h"\n#if ARCH == 1\n#include "old.h"\n#elif ARCH == 2\n#include "new.h"\n'
        '#else\n#include "host.h"\n#endif\n'
    )
    find = 'for one; do [ "$last" = -ccbin ] && host=$one; last=$one; done\n'
    passes = "for arch in 1 2; do $host -E -x c++ -DARCH=$arch a.cu -o $arch.ii & done; wait\n"
    bench.script("nvcc", find + passes + "$host -E -x c++ a.cu >made.ii; $host -x c++ -c made.ii -o a.o\n")
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert (done.returncode, done.stdout) == (0, "")
    assert {"a.cu", "a.h", "old.h", "new.h", "host.h"} <= set(listed(server.compiled[0].depfile))


def test_no_notes_are_left(bench: Bench, server: Jobserver) -> None:
    before = sorted(path.name for path in bench.root.iterdir())
    for code in (0, 1):
        bench.script("nvcc", note("a.o: a.cu") + SOUND + f"; exit {code}")
        assert bench.run("nvcc", "-c", "a.cu", "-o", f"{code}.o").returncode == code
    assert not (bench.source / "1.o.d").exists()
    new = {path.name for path in bench.root.iterdir()} - set(before)
    assert new == {"arguments", "control.json"}
    assert len(server.compiled) == 1


def test_a_unit_whose_depfile_cannot_be_written_does_not_count_as_compiled(
    bench: Bench, server: Jobserver
) -> None:
    """Nobody would know what it was made of, and it would be taken for good whatever changes."""
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o", "-MD", "-MF", "nowhere/a.d")
    assert (done.returncode, done.stdout) == (1, f"{bench.source}/nowhere/a.d: No such file or directory\n")
    assert not (bench.source / "a.o").exists()
    assert server.compiled == []
    assert [(one.name, one.code, one.said) for one in server.failed] == [("a.cu", 1, done.stdout)]


# Failures.


@pytest.mark.parametrize(
    ("body", "code", "noted"),
    [
        ("echo 'a.cu(1): error: no' >&2; exit 2", 2, 2),
        ("exit 255", 255, 255),
        ("kill -9 $$", 137, -9),
    ],
    ids=["fails", "fails with a high code", "is killed"],
)
def test_a_compile_that_does_not_end_well_leaves_no_object(
    bench: Bench, server: Jobserver, body: str, code: int, noted: int
) -> None:
    bench.script("nvcc", f"{SOUND}; {body}")
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert done.returncode == code
    assert not (bench.source / "a.o").exists()
    (one,) = server.failed
    assert (one.name, one.code, one.said) == ("a.cu", noted, done.stdout)
    assert one.command[:3] == (f"{bench.root}/real/nvcc", "-c", "a.cu")
    assert server.compiled == []


def test_a_compile_that_fails_before_it_writes_passes_its_code(bench: Bench, server: Jobserver) -> None:
    bench.script("nvcc", "echo no >&2; exit 4")
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert (done.returncode, done.stdout) == (4, "no\n")
    assert server.failed[0].said == "no\n"


def test_a_compiler_that_is_not_there_is_told(bench: Bench, server: Jobserver) -> None:
    bench.control["tools"]["nvcc"] = "/nowhere/nvcc"
    done = bench.run("nvcc", "-c", "a.cu", "-o", "a.o")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "/nowhere/nvcc: No such file or directory\n",
        "",
    )
    assert server.failed[0].said == done.stdout


def test_after_a_failure_nothing_more_is_compiled(bench: Bench, server: Jobserver) -> None:
    bench.script("gcc", "exit 1")
    assert bench.run("gcc", "-c", "a.c", "-o", "a.o").returncode == 1
    (bench.root / "arguments").unlink()
    assert bench.run("nvcc", "-c", "b.cu", "-o", "b.o").returncode == 1
    assert bench.given() == []
    assert [one.name for one in server.failed] == ["a.c"]


def test_it_needs_nothing_but_its_control_file(bench: Bench) -> None:
    """It stands before every compile, also in a build whose PYTHONPATH and folder hold modules of any name."""
    (bench.source / "json.py").write_text("raise SystemExit('a module of the build was imported')\n")
    assert bench.run("nvcc", "--version").returncode == 0
    assert json.loads(Path(bench.environment["RETREAD_CONTROL"]).read_text())["tools"]["nvcc"]
