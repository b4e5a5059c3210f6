"""A wheel for the GPUs of one fleet: what stays, what it says of itself, what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gpucode import ADD80, ADD90, PTX, RELOCATABLE, WINDOWS, entry, fat
from retread.arch import Arch
from retread.build import alone, slim, slimming
from retread.cli import main
from retread.elf import fatbin, library, selection
from retread.elf.facts import CodeFacts, Kernels, Mode
from retread.errors import FatbinError
from retread.wheel import contents
from retread.wheel.metadata import parse_name
from tinycuda import DATA, INFO, LIBRARY, WHEEL, Result, make_wheel, names, wheel_files

ADD = (DATA / "libadd.so").read_bytes()
A90 = entry(ADD90, sm=90, flags=0x10_0011)
MADE = WHEEL.replace("1.0-", "1.0+slim.1-")
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return what runs ``retread slim`` on a wheel of these files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))

    def run(*words: str, files: dict[str, bytes] | None = None, name: str = WHEEL) -> Result:
        Path(name).write_bytes(make_wheel(files or wheel_files()))
        code = main.run(["slim", name, "-o", "out", *words])
        return Result(code, *capfd.readouterr())

    return run


def test_what_a_fleet_runs_stays_and_nothing_else(run: Run, tmp_path: Path) -> None:
    done = run("--keep", "9.0", "--drop-ptx", "--compress")
    assert (done.code, done.wheel.name) == (0, MADE), done.err
    facts = contents.facts(done.wheel, tmp_path / "tmp")
    assert {(one.sass, one.ptx) for one in facts.libraries[LIBRARY].modules} == {(("9.0a",), ())}
    said = facts.statement
    assert said is not None
    assert msgspec.to_builtins(said.slim) == {
        "keep": ("9.0",), "drop_ptx": True, "compress": "size", "driver": "12.4"
    }  # fmt: skip
    assert (said.base.file if said.base else "", said.level, said.toolchain) == (WHEEL, "wheel", None)
    assert json.loads(Path(f"{done.wheel}.audit.json").read_bytes())["ok"]
    told = done.err.splitlines()
    assert f"  {LIBRARY}: 39 kB before, 26 kB after (66%)" in told
    gone = "8.0 8.6 8.9 10.0 10.3 12.0 12.1"
    assert f"note: {LIBRARY} has no code any more for kernels that {gone} had" in told
    assert "note: it is packed by zstd, which needs a driver of CUDA 12.4 (550) or newer" in told
    assert main.run(["inspect", str(done.wheel)]) == 0


def test_inspect_says_that_it_is_slim(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    wheel = run("--keep", "9.0", "--compress", "speed").wheel
    assert main.run(["inspect", str(wheel)]) == 0
    assert "  slim: for 9.0, packed for speed\n" in capfd.readouterr().out


def test_json_has_the_sizes_and_who_loses_what(run: Run) -> None:
    found = json.loads(run("--keep", "8.0", "--json").out)
    assert found["libraries"] == {
        LIBRARY: {"before": len(ADD), "after": 35_776, "lost": [], "jit": ["9.0"], "whole": 0}
    }
    assert (found["left"], found["driver"], found["path"]) == ({}, "12.4", f"out/{MADE}")


def test_everything_else_is_the_same_and_twice_is_the_same(run: Run) -> None:
    first = run("--keep", "8.0").wheel.read_bytes()
    made = run("--keep", "8.0").wheel
    assert made.read_bytes() == first
    with zipfile.ZipFile(made) as new:
        kept = {name: new.read(name) for name in new.namelist() if not name.startswith("tinycuda-")}
    old = {name: data for name, data in wheel_files().items() if not name.startswith("tinycuda-")}
    assert kept.pop(LIBRARY) != old.pop(LIBRARY)
    assert kept == old


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--keep", "sm_90"], 2, "no GPU has the architecture 'sm_90' (did you mean '9.0'?)"),
        (["--keep", "all"], 2, "no GPU has the architecture 'all'\n  next: write it like 9.0 or 10.0a"),
        (["--keep", "9.3"], 2, "no GPU has the architecture '9.3' (did you mean '9.0'?)"),
        (["--keep", "9.0a"], 2, "--keep names GPUs, and none has the capability 9.0a\n  next: say 9.0"),
        (["--keep", "5.0"], 6, f"nothing in {WHEEL} runs on 5.0"),
        (["--keep", "9.0", "--keep", "7.5"], 6, f"nothing in {WHEEL} runs on 7.5"),
        (["--keep", "8.0", "--keep", "9.0"], 6, "holds nothing but what 8.0 9.0 need; nothing to take out"),
        (["--keep", "10.0", "--drop-ptx"], 6, f"  - {LIBRARY}: 10.0 runs 4 of 4 modules by JIT alone"),
        (["--keep", "9.0", "--max-size", "1kB"], 6, "more than the 1,000 that it may"),
        (["--keep", "9.0", "--max-size", "many"], 2, "--max-size: 'many' is not a size like 100MB"),
        (["--keep", "9.0", "--max-size", "0"], 2, "--max-size: no wheel has 0 bytes"),
        (["--keep", "9.0", "--local", "a/b"], 2, "--local: 'a/b' is no local version"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, words: list[str], code: int, told: str) -> None:
    done = run(*words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert (names(Path()), names(Path("tmp"))) == ([WHEEL, "tmp"], [])


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        (None, 6, "holds no GPU code in shared objects of Linux; there is nothing to take out"),
        (ADD + fat(entry(RELOCATABLE)), 0, f"{LIBRARY}: 1 module left whole: relocatable code, or outside"),
        (ADD.replace(b".nvFatBinSegment", b".nvXxxxxxxxxxxxx"), 11, "no library of"),
        (ADD.replace(b"\x50\xed\x55\xba\1\0", b"\x50\xed\x55\xba\7\0", 1), 11, "no fat binary at offset 0x0"),
    ],
)  # fmt: skip
def test_libraries_that_cannot_be_slimmed(run: Run, data: bytes | None, code: int, told: str) -> None:
    files = {name: text for name, text in wheel_files().items() if data or name != LIBRARY}
    done = run("--keep", "9.0", files=files | ({LIBRARY: data} if data else {}))
    assert done.code == code, done.err
    assert told in done.err


def test_a_library_of_windows_is_none_that_can_be_slimmed(run: Run) -> None:
    files = wheel_files()
    files["tinycuda/_C.pyd"] = WINDOWS
    del files[LIBRARY]
    done = run("--keep", "9.0", files=files)
    assert done.code == 6
    assert "holds no GPU code in shared objects of Linux; there is nothing to take out" in done.err


def test_a_library_of_which_nothing_would_be_left_is_named(run: Run) -> None:
    other = {"tinycuda/_old.so": ADD + fat(entry(ADD80))}
    bare = ADD
    for name in ("lz4", "zstd", "plain"):
        bare = bare.replace(
            (DATA / f"{name}.fatbin").read_bytes(), bytes((DATA / f"{name}.fatbin").stat().st_size)
        )
    other["tinycuda/_old.so"] = bare + fat(entry(ADD80))
    done = run("--keep", "9.0", files=wheel_files() | other)
    assert done.code == 6
    assert f"nothing would be left of 1 of 2 libraries of {WHEEL} for 9.0" in done.err
    assert "  - tinycuda/_old.so: it has code for 8.0\n" in done.err


def test_a_build_tag_goes(run: Run) -> None:
    files = wheel_files()
    files[f"{INFO}/WHEEL"] = files[f"{INFO}/WHEEL"].replace(b"Tag:", b"Build: 7\nTag:")
    assert run("--keep", "9.0", files=files, name=WHEEL.replace("1.0-", "1.0-7-")).wheel.name == MADE


def test_a_local_version_grows() -> None:
    old = parse_name("demo-1.0+cu121-py3-none-any.whl")
    assert alone.renamed(old, slimming.CHANNEL, None).version == "1.0+cu121.1"


def test_a_signature_does_not_outlive_it(run: Run) -> None:
    done = run("--keep", "9.0", files=wheel_files() | {f"{INFO}/RECORD.jws": b"{}"})
    assert "note: RECORD.jws is gone: no signature outlives a change" in done.err


def offered(*groups: tuple[list[str], list[str], int]) -> CodeFacts:
    kernels = [
        Kernels(sass=tuple(map(Arch, sass)), ptx=tuple(map(Arch, ptx)), count=count)
        for sass, ptx, count in groups
    ]
    return CodeFacts(kind="cubin", modules=(), kernels=tuple(kernels))


@pytest.mark.parametrize(
    ("after", "lost", "jit"),
    [
        (
            [(["9.0"], ["8.0"], 3)],
            ("7.5",),
            ("8.0", "8.6", "8.9"),
        ),  # a kernel that only 7.5 had is gone altogether
        ([(["9.0"], [], 3)], ("7.5", "8.0", "8.6", "8.9", "10.0", "10.3", "12.0", "12.1"), ()),
        ([(["8.0", "9.0"], ["8.0"], 3), (["7.5"], [], 1)], (), ()),
    ],
)
def test_who_is_served_worse_is_known(
    after: list[tuple[list[str], list[str], int]], lost: tuple[str, ...], jit: tuple[str, ...]
) -> None:
    before = offered((["8.0", "9.0"], ["8.0"], 3), (["7.5"], [], 1))
    assert slim.fate(before, offered(*after), [Arch("9.0")]) == slim.Fate(
        tuple(map(Arch, lost)), tuple(map(Arch, jit))
    )


WISH = slim.Slim(keep=(Arch("9.0"),), drop_ptx=True, compress=None)


@pytest.mark.parametrize(
    "module",
    [
        fat(entry(RELOCATABLE), A90),  # to be linked
        fat(entry(ADD80), A90, entry(b"LTO", kind=8)),  # holds what nobody knows
        (DATA / "plain.fatbin").read_bytes()[:16],
    ],
)
def test_what_is_not_known_stays(module: bytes) -> None:
    (one,) = fatbin.parse(module[:8] + (len(module) - 16).to_bytes(8, "little") + module[16:], where="lib.so")
    assert not slim._known(one).free


def test_what_would_run_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "kept", lambda one, devices, drop_ptx: frozenset({0}))
    with pytest.raises(FatbinError, match=r"module 0: 9\.0 would run something else than before"):
        slim.slim(DATA / "libadd.so", tmp_path / "new.so", WISH, lambda done, total: None)


def test_other_machine_code_under_the_same_name_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(one: fatbin.Entry, mode: Mode) -> bytes:
        return fatbin.stored(one, fatbin.image(one).replace(b"\0\0\0\0", b"\0\0\0\1", 1), None)

    monkeypatch.setattr(slim.packing, "packed", other)
    wish = msgspec.structs.replace(WISH, compress=Mode.SIZE)
    with pytest.raises(FatbinError, match="would run something else"):
        slim.slim(DATA / "libadd.so", tmp_path / "new.so", wish, lambda done, total: None)


def test_the_library_is_smaller_and_reads_as_before(tmp_path: Path) -> None:
    slim.slim(DATA / "libadd.so", tmp_path / "new.so", WISH, lambda done, total: None)
    assert (tmp_path / "new.so").stat().st_size < len(ADD)
    before, after = library.read(DATA / "libadd.so"), library.read(tmp_path / "new.so")
    assert (before.needed, before.undefined) == (after.needed, after.undefined)
    assert PTX not in (tmp_path / "new.so").read_bytes()
