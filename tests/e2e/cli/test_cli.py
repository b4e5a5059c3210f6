"""The command line: what a user types, reads and scripts against."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from retread import errors
from retread.arch import Arch
from retread.build import pipeline
from retread.cli import main, options
from retread.doors import proc
from retread.elf import fatbin, library
from retread.errors import PlanError, RetreadError
from retread.version import __version__
from tinycuda import BUILT, WHEEL, Project, make_sdist, make_wheel, sha256, wheel_files

REPOSITORY = Path(__file__).parents[3]
DATA = REPOSITORY / "tests" / "data"


def _help(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main.run([*arguments, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    text = _help(capsys)
    for command in ("build", "plan", "patch", "inspect", "audit", "store", "recipe", "completion"):
        assert re.search(rf"^    {command}(?: |$)", text, re.MULTILINE)
    listed = {int(code) for code in re.findall(r"(?:^|  )(\d+) [a-zA-Z]", text.partition("exit codes:")[2])}
    classes = [
        one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, RetreadError)
    ]
    assert listed >= {one.exit_code for one in classes} | {0, 130}
    codes = [one.exit_code for one in classes]
    assert len(codes) == len(set(codes)), "one exit code for each kind"


@pytest.mark.parametrize(
    "command",
    [["build"], ["plan"], ["patch"], ["patch", "check"], ["inspect"], ["audit"], ["store", "list"], ["store", "prune"],
     ["recipe", "list"], ["recipe", "check"], ["recipe", "schema"], ["completion"]],
)  # fmt: skip
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert f"usage: retread {' '.join(command)}" in _help(capsys, *command)


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["build", "--nonsense"], ["patch"], ["completion", "fish?"]]
)
def test_a_wrong_command_line_is_exit_code_2(project: Project, arguments: list[str]) -> None:
    result = project.run(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert "usage: retread" in result.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build", "--taget", "cu128"], "retread build: error: unrecognized arguments: --taget"),
        (["build", "--lane", "oberlay"], "retread build: error: argument --lane: invalid choice: 'oberlay'"),
        (["patch", "check", "--quite"], "retread patch check: error: unrecognized arguments: --quite"),
        (
            ["index", "yank", "there", "tiny"],
            "retread index yank: error: the following arguments are required",
        ),
        (
            ["--quiet", "build"],
            "retread: error: --quiet is no option of retread itself: put it after the command",
        ),
    ],
)
def test_a_command_that_is_mistyped_shows_its_own_usage(
    project: Project, arguments: list[str], told: str
) -> None:
    result = project.run(*arguments)
    prog = told.partition(":")[0]
    assert result.code == 2
    assert result.err.startswith(f"usage: {prog} [-h]")
    assert told in result.err


def test_the_version_is_printed(project: Project) -> None:
    assert project.run("--version").out == f"retread {__version__}\n"


def test_the_last_line_of_a_build_is_the_path(project: Project) -> None:
    result = project.build("--out", "some/where")
    assert result.out.splitlines()[-1] == f"some/where/{BUILT}"
    assert (project.root / result.wheel).is_file()


@pytest.mark.parametrize(("code", "closed"), [(130, [True]), (0, []), (14, [])])
def test_an_interrupted_process_starts_nothing_more(
    monkeypatch: pytest.MonkeyPatch, code: int, closed: list[bool]
) -> None:
    found: list[bool] = []
    monkeypatch.setattr(main, "run", lambda arguments: code)
    monkeypatch.setattr(proc, "close", lambda: found.append(True))
    with pytest.raises(SystemExit) as end:
        main.main([])
    assert (end.value.code, found) == (code, closed)


def test_quiet_says_nothing(project: Project) -> None:
    result = project.build("--quiet")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith(".whl\n")


def test_an_unchanged_build_says_so(project: Project) -> None:
    assert project.build().err.splitlines()[-3].startswith("built: ")
    assert project.build().err.startswith(f"unchanged: {BUILT}")
    assert json.loads(project.build("--json").out)[0]["cached"] is True


@pytest.mark.parametrize("command", ["build", "plan"])
def test_an_unknown_recipe_brings_the_near_one(project: Project, command: str) -> None:
    result = project.run(command, "tiny-1.O")
    assert result.code == 2
    assert "there is no recipe 'tiny-1.O' (did you mean 'tiny-1.0'?)" in result.err


def test_an_unknown_target_brings_the_near_one(project: Project) -> None:
    result = project.build("--target", "cu129")
    assert result.code == 6
    assert "has no target 'cu129' (did you mean 'cu128'?)" in result.err


def test_a_lane_that_is_not_there_is_refused(project: Project) -> None:
    result = project.build("--lane", "source")
    assert result.code == 6
    assert "source lane" in result.err
    assert project.build("--lane", "overlay").code == 0


def test_outside_of_a_workspace_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["plan"]) == 2
    assert "--root" in capsys.readouterr().err


def test_the_root_can_be_named(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["build", "tiny-1.0", "--root", "project/work", "--out", "here"]) == 0
    assert (tmp_path / "here" / BUILT).is_file()


def test_every_fault_of_a_recipe_is_shown(project: Project) -> None:
    project.edit_recipe('cuda = "12.8"', 'cudda = "12.8"')
    project.edit_recipe("revision = 1", "revision = 0")
    for command in (["build", "tiny-1.0"], ["recipe", "check"]):
        result = project.run(*command)
        assert result.code == 3
        assert "cudda: unknown key (did you mean 'cuda'?)" in result.err
        assert "revision" in result.err


def test_recipes_are_listed_and_checked(project: Project) -> None:
    assert project.run("recipe", "list").out.splitlines() == [
        "    target  platform  torch  Python  GPUs      lane     built here",
        "tiny-1.0  a tiny CUDA project",
        "    cu128   x86_64    >=2.8  >=3     8.0 9.0a  overlay  no",
    ]
    assert project.run("recipe", "check").code == 0


@pytest.mark.parametrize(
    "command", [["audit", WHEEL, "--recipe", "tiny-1.0"], ["build", "tiny-1.0"], ["plan", "tiny-1.0"]]
)
def test_a_target_that_no_lane_can_make_is_a_message(project: Project, command: list[str]) -> None:
    (project.root / WHEEL).write_bytes(make_wheel(wheel_files()))
    base = project.recipe_text[project.recipe_text.index("[[targets.cu128.base]]") :].split("\n\n")[0]
    project.edit_recipe(base, "")
    result = project.run(*command)
    assert result.code == 3
    assert "targets.cu128.base, build: neither is there, so no lane can make it" in result.err


def test_inspect_shows_which_gpus_are_served(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    assert project.build().code == 0
    out = project.run("inspect", str(project.built)).out
    assert "4 modules: native 8.0 9.0a 10.0; PTX 8.0" in out
    assert re.search(r"native code .*10\.0 \(B200\)", out)
    assert re.search(r"by JIT from PTX .*12\.0 \(RTX 50\)", out)
    assert re.search(r"NO CODE .*7\.5 \(Turing\)", out)


def test_inspect_shows_patched_wheels_as_a_table(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    assert project.build().code == 0
    wheel = str(project.built)
    cells = "tiny-1.0 cu128 | py3 | torch>=2.8 | `tinycuda/_C.so` | 4 | 8.0 9.0a | 8.0 9.0a **10.0** | 8.0"
    assert project.run("inspect", "--table", wheel, wheel).out.splitlines() == [
        "| recipe, target | Python | torch | library | modules | native before | native after | PTX |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| {cells} |",
        f"| {cells} |",
    ]
    assert len(json.loads(project.run("inspect", "--table", wheel, wheel, "--json").out)) == 2
    alone = project.run("inspect", wheel, wheel)
    assert (alone.code, alone.out) == (2, "")
    assert "inspect shows one file; say --table" in alone.err


def test_inspect_tells_what_each_kernel_takes(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    assert project.build().code == 0
    wheel, official = str(project.built), str(project.root / WHEEL)
    (project.root / WHEEL).write_bytes(make_wheel(wheel_files()))
    lines = project.run("inspect", "--resources", wheel, "--beside", official).out.splitlines()
    assert lines[:5] == [
        project.built.name,
        "    library         code for  kernels  registers  with stack  most  GMMA or TMA  with stack",
        "    tinycuda/_C.so  sm_80           4         32           0     0            0           0",
        "    tinycuda/_C.so  sm_90a          4         32           0     0            0           0",
        "    tinycuda/_C.so  sm_100          4         32           0     0            0           0",
    ]
    assert f"kernels that {WHEEL} has, too: sums here / there" in lines
    found = json.loads(project.run("inspect", "--resources", wheel, "--beside", official, "--json").out)
    assert (found["ok"], found["beside"], len(found["kernels"])) == (True, WHEEL, 12)
    assert found["sha256"] == sha256(project.built.read_bytes())
    for command, told in (
        (["inspect", wheel, "--beside", official], "say --resources, too"),
        (["inspect", wheel, "--resources", "--table"], "show different things; say one of them"),
        (["inspect", wheel, "--resources", "--beside", "none.whl"], "there is no file none.whl"),
    ):
        result = project.run(*command)
        assert (result.code, result.out) == (2, "")
        assert told in result.err


def test_inspect_ends_with_an_error_for_a_matrix_kernel_that_spills(project: Project) -> None:
    """The table is printed all the same."""
    cubin = (DATA / "kernels" / "kernels.sm_90a.cubin").read_bytes()
    old, new = DATA / "fatbin" / "libadd.so", project.root / "libadd.so"
    first = library.fat_binaries(old)[0]
    library.edit(old, new, fatbins={0: fatbin.graft(first, {Arch("9.0"): cubin})})
    result = project.run("inspect", "--resources", str(new))
    assert result.code == 12
    assert "    spills   sm_90            30     64    2048            80  HGMMA 1 UTMALDG 1" in result.out
    assert "libadd.so: 1 kernel with GMMA, tcgen05 or TMA and local memory" in result.err
    assert "libadd.so: sm_90: 64 bytes of stack, with HGMMA UTMALDG UTMASTG: spills" in result.err
    assert "next: have ptxas say more" in result.err
    assert project.run("inspect", "--resources", str(new), "--beside", str(new)).code == 0


def test_a_table_has_no_row_for_a_wheel_that_says_nothing_of_itself(project: Project) -> None:
    (project.root / WHEEL).write_bytes(make_wheel(wheel_files()))
    result = project.run("inspect", "--table", WHEEL)
    assert (result.code, result.out) == (9, "")
    assert f"{WHEEL} was not made by retread" in result.err


def _unproven(project: Project, name: str) -> tuple[Path, bytes]:
    """Take a commit's proof away: there is its listing, and an archive; return where it was and what it said."""
    kept = next((project.root / "recipes" / "commits").glob(f"{name}-*.tree"))
    data = kept.read_bytes()
    (project.root / "full.tree").write_bytes(data)
    (project.root / "tiny.tar.gz").write_bytes(make_sdist(project.upstream.sdist))
    kept.unlink()
    return kept, data


def test_a_proof_is_made_of_what_the_source_archive_holds(project: Project) -> None:
    kept, data = _unproven(project, "tinycuda")
    assert project.build().code == 4, "there is no proof yet"
    result = project.run("recipe", "proof", "full.tree", "tiny.tar.gz")
    assert (result.code, result.out) == (0, f"{kept}\n")
    assert sorted(kept.read_bytes().splitlines()) == sorted(data.splitlines())
    assert project.build().code == 0

    less = {path: text for path, text in project.upstream.sdist.items() if "/extra/" not in path}
    (project.root / "less.tar.gz").write_bytes(make_sdist(less))
    folded = project.run("recipe", "proof", "full.tree", "less.tar.gz", "-o", "less.tree", "--json")
    assert json.loads(folded.out) == {
        "proof": "less.tree",
        "repository": "tinycuda",
        "commit": project.upstream.commit,
    }
    listed = (project.root / "less.tree").read_text()
    assert re.search("^040000 [0-9a-f]{40} tinycuda/extra$", listed, re.MULTILINE)
    assert "extra/deep.py" not in listed


def test_a_submodules_proof_is_made_where_the_archive_has_it(project: Project) -> None:
    kept, data = _unproven(project, "lib")
    result = project.run("recipe", "proof", "full.tree", "tiny.tar.gz", "--at", "third_party/nothing")
    assert result.code == 2
    assert f"tiny.tar.gz holds no file of lib {project.upstream.inner_commit[:12]}" in result.err
    assert not kept.exists()
    assert project.run("recipe", "proof", "full.tree", "tiny.tar.gz", "--at", "third_party/lib").code == 0
    assert sorted(kept.read_bytes().splitlines()) == sorted(data.splitlines())


def test_a_listing_that_was_changed_proves_nothing(project: Project) -> None:
    kept, data = _unproven(project, "tinycuda")
    (project.root / "full.tree").write_bytes(data.replace(b"100644", b"100755", 1))
    result = project.run("recipe", "proof", "full.tree", "tiny.tar.gz")
    assert result.code == 4
    assert "full.tree: its listing makes tree" in result.err
    assert not kept.exists()


def test_the_store_is_listed_and_pruned(project: Project) -> None:
    assert "0 entries" in project.run("store").out
    project.build()
    listed = json.loads(project.run("store", "list", "--json").out)
    assert {one["kind"] for one in listed} == {"bases", "downloads", "patched", "trees", "wheels"}
    assert f"{len(listed)} entries" in project.run("store").out
    assert project.run("store", "prune").out.startswith("removed 0 entries")
    pruned = json.loads(project.run("store", "prune", "--keep", "0", "--json").out)
    assert len(pruned["removed"]) == len(listed)
    assert pruned["freed"] > 10_000
    assert json.loads(project.run("store", "--json").out) == []


def test_no_command_needs_the_user_s_home(project: Project) -> None:
    """The home of every test is a file; see conftest."""
    assert not Path(os.environ["HOME"]).is_dir()
    assert project.build().code == 0


def test_the_shipped_recipes_are_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["recipe", "check", "--root", str(REPOSITORY)]) == 0
    assert main.run(["recipe", "list", "--root", str(REPOSITORY), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert options.DEFAULT_RECIPE in {one["name"] for one in found}


def test_all_builds_what_can_be_built_and_says_what_cannot(project: Project) -> None:
    other = project.recipe_text.replace('name = "tiny-1.0"', 'name = "tiny-later"')
    without = other.replace('native-inputs = ["setup.py", ', 'native-inputs = ["tinycuda/**", ')
    (project.root / "recipes" / "tiny-later.toml").write_text(without)
    result = project.run("build", "--all")
    assert result.code == 0, result.err
    assert result.out.splitlines() == [f"dist/{BUILT}"]
    assert "not built: tiny-later cu128: the overlay lane is not allowed" in result.err
    assert project.run("build", "--all", "tiny-1.0").code == 2


def test_all_that_builds_nothing_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    result = project.run("build", "--all", "--lane", "container", "--platform", "win_amd64")
    assert (result.code, result.out) == (2, "")
    assert "tiny-1.0: no build with --lane container --platform win_amd64\n" in result.err

    def cannot(*_: object) -> None:
        raise PlanError("this machine cannot have it")

    monkeypatch.setattr(pipeline, "build", cannot)
    result = project.run("build", "--all")
    assert (result.code, result.out) == (PlanError.exit_code, "")
    assert "nothing was built" in result.err


def test_a_faulty_series_has_the_exit_code_of_a_series(project: Project) -> None:
    (project.root / "patches" / "tinycuda" / "1.0" / "0009-stray.patch").write_text("")
    result = project.run("recipe", "check")
    assert result.code == 5
    assert "tiny-1.0: 0009-stray.patch: not listed in series" in result.err


def test_a_binary_file_cannot_be_edited(project: Project) -> None:
    project.write_recipe(
        project.recipe_text + '\n[[targets.cu128.edit]]\nfile = "tinycuda/_C.so"\nfind = "a"\nreplace = "b"\n'
    )
    project.fails(3, "edit: tinycuda/_C.so", "is not a text")


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [
        (">/dev/full", 13, "retread: store: cannot write standard output: No space left on device\n"),
        (">&-", 0, ""),
        ("| true", 0, ""),
        (">/dev/null 2>&-", 0, ""),
        (">/dev/full 2>/dev/full", 13, ""),
    ],
    ids=["full", "closed", "unread", "no talk", "both full"],
)
@pytest.mark.parametrize("command", ["--version", "--help", "build --help", "recipe list", "store list"])
def test_an_output_that_takes_nothing(command: str, redirected: str, code: int, told: str) -> None:
    line = f"{sys.executable} -m retread {command} {redirected}"
    done = subprocess.run(["sh", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, told)


def test_a_folder_that_takes_no_files_is_a_message(project: Project) -> None:
    result = project.run("key", "new", "anna", "--folder", "/proc")
    assert result.code == 13
    assert re.fullmatch(r"retread: store: cannot use /proc/\S+: it is not there\n", result.err)
