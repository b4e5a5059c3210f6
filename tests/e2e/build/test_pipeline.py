"""The order of the stages: what changed is made again and nothing else; what fails leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loopback import Index
from retread.build import pipeline
from retread.doors import proc
from retread.doors.store import Kind, Store
from retread.lanes import source
from retread.source import trees
from retread.wheel import hashing
from retread.wheel.ziparchive import Archive, Entry
from tinycuda import (
    BUILT,
    FILES,
    OPS,
    WHEEL,
    Project,
    Result,
    diff,
    make_wheel,
    ops,
    sha256,
    wheel_files,
)

if TYPE_CHECKING:
    import pytest

OTHER = diff(OPS, FILES[OPS], ops(VALUE_3=31))


def _steps(result: Result) -> list[str]:
    """Return the words of the steps that a build ran."""
    return re.findall(r"^  (\S+ \S+).* ok +\d", result.err, re.MULTILINE)


def test_a_build_prints_the_wheel_s_path_and_nothing_else(project: Project) -> None:
    result = project.build()
    assert result.code == 0
    assert result.out == f"dist/{BUILT}\n"
    assert (project.root / result.wheel).is_file()
    assert Path(f"{project.built}.audit.json").is_file()
    name = re.escape(BUILT)
    assert re.match(
        rf"tiny-1.0 cu128\n  {name}\n  for torch >=[\d.]+, Python [>=\d.]+\n  for GPUs [\d. ]+", result.err
    )
    assert re.search(rf"\nbuilt: {name}\n  [\d,]+ bytes in dist\n  sha256 [0-9a-f]{{64}}\n$", result.err)
    assert [line for line in result.err.splitlines() if " ok " in line and len(line) > 80] == []
    assert project.partials() == []


def test_nothing_is_done_twice(project: Project) -> None:
    assert len(_steps(project.build())) == 7
    before = len(project.index.log)
    result = project.build()
    assert result.code == 0
    assert result.out == f"dist/{BUILT}\n"
    assert result.err.startswith("unchanged: ")
    assert _steps(result) == []
    assert len(project.index.log) == before


def test_a_changed_patch_repeats_patch_seal_and_audit_only(project: Project) -> None:
    project.build()
    project.series(OTHER)
    assert _steps(project.build()) == ["apply the", "seal the", "audit the"]


def test_a_changed_patch_inflates_what_is_new_alone_and_hashes_the_wheel_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.build()
    project.series(OTHER)
    inflated, scans, syncs = list[str](), list[object](), list[object]()
    chunks, scan = Archive.chunks, hashing.scan

    def watched(self: Archive, entry: Entry) -> Iterator[bytes]:
        inflated.append(entry.name)
        return chunks(self, entry)

    monkeypatch.setattr(Archive, "chunks", watched)
    monkeypatch.setattr(hashing, "scan", lambda *given: scans.append(given) or scan(*given))
    for name in ("fsync", "fdatasync", "sync"):
        monkeypatch.setattr(os, name, syncs.append)
    start, started, replace, replaced = proc._start, list[object](), Path.replace, list[str]()
    monkeypatch.setattr(proc, "_start", lambda *given: started.append(given) or start(*given))
    monkeypatch.setattr(Path, "replace", lambda one, by: replaced.append(str(by)) or replace(one, by))
    assert project.build().code == 0
    assert (len(scans), syncs) == (1, [])
    assert len(started) == 2, "git tries whether the patch is there, and applies it"
    assert not any("/dist/" in one for one in replaced), (
        "it waited until the file system had placed the wheel"
    )
    new = {OPS, "tinycuda/version.py", *(name for name in inflated if ".dist-info/" in name)}
    assert set(inflated) == new


def test_a_change_of_the_target_repeats_seal_and_audit_only(project: Project) -> None:
    project.build()
    project.edit_recipe("revision = 1", "revision = 2")
    assert _steps(project.build()) == ["seal the", "audit the"]


def test_how_it_is_tried_changes_no_byte_but_by_what_it_is_proven_does(project: Project) -> None:
    project.build()
    untried = project.built.read_bytes()
    project.write_recipe(project.recipe_text + '\n[targets.cu128.smoke]\ntorch = "2.10.0"\n')
    assert project.build().err.startswith("unchanged: ")  # what is not proven by more than static and jit
    project.edit_recipe('torch = "2.10.0"\n', 'torch = "2.10.1"\ngpu = ["9.0"]\ntriton = ["3.6.0"]\n')
    assert _steps(project.build()) == ["seal the", "audit the"]
    proven = project.built.read_bytes()
    assert proven != untried
    project.edit_recipe('torch = "2.10.1"', 'torch = "2.10.0"')
    assert project.build().err.startswith("unchanged: ")
    shown = json.loads(project.run("inspect", str(project.built), "--json").out)["statement"]["promise"]
    assert shown["proof"] == {"gpu": ["9.0"], "triton": ["3.6.0"]}


def test_a_change_of_the_source_repeats_all_that_rests_on_it(project: Project) -> None:
    project.build()
    project.edit_recipe("written by setuptools", "made by setuptools")
    assert _steps(project.build()) == ["prove the", "apply the", "prove the", "seal the", "audit the"]


def test_a_change_of_retread_itself_makes_everything_void(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.build()
    for module in (pipeline, trees, source):
        monkeypatch.setattr(module, "code_digest", lambda: "other")
    assert _steps(project.build()) == ["prove the", "apply the", "prove the", "seal the", "audit the"]


def test_a_change_of_the_summary_changes_nothing(project: Project) -> None:
    project.build()
    project.edit_recipe("a tiny CUDA project", "a small CUDA project")
    assert project.build().err.startswith("unchanged: ")


def test_the_plan_says_what_is_to_do_and_touches_no_network(project: Project) -> None:
    before = project.run("plan", "tiny-1.0")
    assert before.code == 0
    assert project.index.log == []
    assert before.out.count("to do") == 8
    assert "lane: overlay" in before.out
    project.build()
    assert "to do" not in project.run("plan", "tiny-1.0").out
    project.series(OTHER)
    steps = json.loads(project.run("plan", "tiny-1.0", "--json").out)[0]["steps"]
    assert [one["stage"] for one in steps if not one["cached"]] == ["patch", "seal", "audit"]


def test_a_patch_on_a_native_input_needs_another_lane(project: Project) -> None:
    project.series(OTHER, diff("csrc/add.cu", FILES["csrc/add.cu"], "// other\n"))
    for command in ("plan", "build"):
        result = project.run(command, "tiny-1.0")
        assert result.code == 6
        assert "0002-change.patch touches csrc/add.cu, a native input (csrc/**)" in result.err
        assert "0001" not in result.err
        assert result.out == ""
    assert project.index.log == []
    assert project.leftovers() == []


def test_the_wheel_is_put_back_when_it_was_removed_or_changed(project: Project) -> None:
    project.build()
    content = project.built.read_bytes()
    project.built.unlink()
    assert project.build().err.startswith("from the store: ")
    assert project.built.read_bytes() == content
    assert project.build().err.startswith("unchanged: ")
    (made,) = json.loads(project.build("--json", "-o", "another").out)
    assert (made["cached"], made["new"], made["replaced"]) == (True, True, False)
    project.built.unlink()
    project.built.write_bytes(b"mine")
    result = project.build()
    assert f"note: dist/{BUILT} held other bytes" in result.err
    assert f"\nput back: {BUILT}\n" in result.err
    assert "unchanged" not in result.err
    assert project.built.read_bytes() == content


def test_a_wheel_that_was_changed_in_place_is_made_again(project: Project) -> None:
    """The file under dist/ is the store's own: who writes into it writes into the store."""
    project.build()
    content = project.built.read_bytes()
    project.built.chmod(0o644)
    with project.built.open("r+b") as stream:
        stream.write(b"EVIL")
    result = project.build()
    assert "built: " in result.err
    assert project.built.read_bytes() == content


def test_a_damaged_tree_is_never_patched(project: Project) -> None:
    project.build()
    (tree,) = (project.store / "trees").glob("*/*/tree")
    os.truncate(tree / OPS, 20)
    project.series(OTHER)
    result = project.build()
    assert result.code == 13
    assert f"the store's copy of {OPS} was changed: {tree / OPS}" in result.err
    shutil.rmtree(re.search(r"next: remove (\S+) and run", result.err)[1])  # type: ignore[index]
    assert _steps(project.build())[0] == "prove the"


def test_a_damaged_patched_file_is_made_again(project: Project) -> None:
    project.build()
    content = project.built.read_bytes()
    (tree,) = (project.store / "patched").glob("*/*/tree")
    (tree / OPS).write_text("EVIL = 1\n")
    shutil.rmtree(project.store / "wheels")
    result = project.build()
    assert _steps(result) == ["apply the", "seal the", "audit the"]
    assert project.built.read_bytes() == content


def test_daily_use_keeps_a_wheel_from_being_pruned(project: Project) -> None:
    project.build()
    for entry in Store(project.store).entries():
        os.utime(entry.path / "stamp.json", (0, 0))
    assert project.build().err.startswith("unchanged: ")
    assert project.run("store", "prune").code == 0
    assert [entry.kind for entry in Store(project.store).entries()] == [Kind.WHEELS]


def test_a_full_store_needs_no_network(
    make_project: Callable[[str], Project], index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_project("first")
    first.build()
    before = len(index.log)
    index.status = {f"/simple/{name}/": 500 for name in ("tinycuda", "fakenvcc")}
    monkeypatch.setenv("UV_OFFLINE", "1")
    second = make_project("second")
    result = second.build()
    assert result.code == 0
    assert result.err.startswith("from the store: ")
    assert second.built.read_bytes() == first.built.read_bytes()
    second.series(OTHER)
    assert second.build().code == 0
    assert len(index.log) == before


def test_a_store_that_is_a_file_is_a_message(project: Project) -> None:
    project.store.write_text("mine")
    result = project.build()
    assert result.code == 13
    assert "a file is in the way" in result.err
    assert project.store.read_text() == "mine"


def test_an_output_folder_that_is_a_file_is_a_message(project: Project) -> None:
    (project.root / "out").write_text("mine")
    result = project.build("--out", "out")
    assert result.code == 13
    assert "a file is in the way" in result.err
    assert result.out == ""


def test_two_base_wheels_give_two_wheels(project: Project) -> None:
    other = WHEEL.replace("py3-none", "cp312-cp312")
    files = wheel_files()
    name = "tinycuda-1.0.dist-info/WHEEL"
    files[name] = files[name].replace(b"py3-none", b"cp312-cp312")
    project.index.files["tinycuda"][other] = data = make_wheel(files)
    project.write_recipe(
        f'{project.recipe_text}\n[[targets.cu128.base]]\nfile = "{other}"\nsha256 = "{sha256(data)}"\n'
    )
    result = project.build()
    assert result.code == 0
    assert result.out.splitlines() == [f"dist/{BUILT}", f"dist/{BUILT.replace('py3-none', 'cp312-cp312')}"]
    assert len(json.loads(project.build("--json").out)) == 2


def test_an_overlay_is_reproduced(project: Project) -> None:
    wheel = project.root / project.build().wheel
    result = project.run("reproduce", str(wheel))
    assert (result.code, result.out.split()[0]) == (0, "identical:"), result
    assert "seal the wheel" in result.err


def test_what_is_asked_of_a_compile_is_refused_and_with_all_noted(project: Project) -> None:
    wheel = project.root / project.build().wheel
    for command in (("plan", "tiny-1.0"), ("build", "tiny-1.0"), ("reproduce", str(wheel))):
        result = project.run(*command, "--image", "x", "--jobs", "1")
        assert result.code == 6, result
        assert "--jobs and --image would do nothing: the overlay lane compiles nothing" in result.err
    result = project.run("build", "--all", "--memory", "1")
    assert (result.code, result.out) == (0, f"dist/{BUILT}\n")
    assert "note: --memory would do nothing: the overlay lane compiles nothing" in result.err


def test_a_wheel_of_another_hand_is_not_reproduced(project: Project, tmp_path: Path) -> None:
    wheel = tmp_path / WHEEL
    wheel.write_bytes(project.index.files["tinycuda"][WHEEL])
    result = project.run("reproduce", str(wheel))
    assert result.code == 2
    assert "holds no retread.json; retread did not make it" in result.err
