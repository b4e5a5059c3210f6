"""``retread watch``: what an index has that is newer than the recipe, and what there is to do; nothing is left."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import faketorch
from loopback import Index
from retread.doors.store import Kind
from tinycuda import (
    BUILT,
    FILES,
    OPS,
    WHEEL,
    Project,
    Result,
    diff,
    make_sdist,
    names,
    ops,
    record,
    sha256,
    zip_bytes,
)
from tinycuda import wheel_files as old_wheel_files

SDIST = "tinycuda-1.1.tar.gz"
NEW_WHEEL = WHEEL.replace("1.0", "1.1")
DEEP = "tinycuda/extra/deep.py"
DOS = "tinycuda/dos.py"
LATER = {
    **{path: text for path, text in FILES.items() if path not in {"README.md", DOS}},
    OPS: ops(VALUE_3=30).replace("VALUE_11 ", "MORE = 0\nVALUE_11 "),
    DEEP: "DEEP = None\n",
    "tinycuda/extra/dos.py": FILES[DOS],
}
"""What upstream's 1.1 holds: VALUE_3 mended, a line more, another DEEP, no README, dos.py moved."""
MENDED = diff(OPS, FILES[OPS], ops(VALUE_3=30))
MOVED = diff(OPS, FILES[OPS], ops(VALUE_30=3))
REWORKED = diff(DEEP, FILES[DEEP], "DEEP = 1\n")
LOST = diff("README.md", FILES["README.md"], "# Tinycuda\n")
ELSEWHERE = diff(DOS, FILES[DOS], FILES[DOS].replace("2", "3"))
TRIAL = """
[smoke]
suites = ["smoke/demo.py"]

[targets.cu128.smoke]
torch = "2.9.1"
triton = ["3.5.1"]
"""
SUITE = """
import harness

@harness.case("demo/compiles/sm_100", level="jit")
def _():
    import torch, triton
    assert triton.__version__ != "3.8.0", "no `kernel`\\n@everyone"
    return {"under": f"{torch.__version__} {triton.__version__}"}

if __name__ == "__main__":
    harness.main()
"""


def release(
    project: Project, files: dict[str, str] = LATER, *more: tarfile.TarInfo, version: str = "1.1"
) -> str:
    """Publish a source archive and return its name."""
    name = f"tinycuda-{version}.tar.gz"
    members = {f"tinycuda-{version}/{path}": text.encode() for path, text in files.items()}
    project.index.files["tinycuda"][name] = make_sdist(members, more)
    return name


def release_wheel(project: Project, change: Callable[[dict[str, bytes]], object] = len) -> None:
    """Publish a wheel of 1.1."""
    info = "tinycuda-1.1.dist-info"
    files = {name.replace("tinycuda-1.0", "tinycuda-1.1"): data for name, data in old_wheel_files().items()}
    files[f"{info}/METADATA"] = files[f"{info}/METADATA"].replace(b"Version: 1.0", b"Version: 1.1")
    change(files)
    project.index.files["tinycuda"][NEW_WHEEL] = zip_bytes({**files, f"{info}/RECORD": record(files, info)})


def watch(project: Project, *options: str, code: int = 0) -> Result:
    """Watch without the jit level, and check the exit code and that nothing is left."""
    result = project.run("watch", "--no-jit", *options)
    assert result.code == code, result
    check_clean(project)
    return result


def check_clean(project: Project) -> None:
    assert list((project.store / "scratch").glob("*")) == []
    assert list(project.root.rglob(".*")) == []
    assert not (project.root / "dist").exists()


def found(project: Project, *options: str, code: int = 0) -> Any:
    """Watch and return the JSON, which is as its schema says."""
    whole = json.loads(watch(project, "--json", *options, code=code).out)
    jsonschema.validate(whole, json.loads(project.run("recipe", "schema", "watch").out))
    return whole


def only(project: Project, *options: str, code: int = 0) -> Any:
    (row,) = found(project, *options, code=code)["recipes"]
    return row


def asked(row: Any) -> list[tuple[str, str]]:
    return [(task["action"], task["subject"]) for task in row["tasks"]]


# The series on what is newer.


def test_the_newest_release_is_the_recipe_s_own(project: Project) -> None:
    result = watch(project, "--issue", "out/issue.md")
    assert re.search(r"tiny-1\.0 +1\.0, its own +1 as it is +yes +left out\n", result.out)
    assert f"source: {'tinycuda-1.0.tar.gz'}, proven to be the pinned commit\n" in result.out
    assert "kept by: 1.0 is the newest release\n" in result.out
    assert result.out.endswith("\nUpstream: nothing to do\n")
    assert (project.root / "out" / "issue.md").read_text().startswith("Nothing is to do.\n")
    whole = found(project)
    assert (whole["schema"], whole["attention"]) == (1, False)
    assert whole["recipes"][0]["upstream"]["proven"]


def test_every_patch_of_the_series_is_tried_on_the_newest_source(project: Project) -> None:
    project.series(MENDED, REWORKED, LOST, MOVED, ELSEWHERE)
    release(project)
    row = only(project, "--issue", "issue.md")
    assert [one["verdict"] for one in row["upstream"]["series"]] == [
        "already in the source", "does not apply", "target deleted", "applies at other lines", "target deleted",
    ]  # fmt: skip
    assert [one["fate"] for one in row["upstream"]["fates"]] == [
        "already upstream", "conflict", "target deleted", "offset", "target renamed",
    ]  # fmt: skip
    assert row["upstream"]["superfluous"] == ["0001-change.patch", "0003-change.patch"]
    assert (row["upstream"]["version"], row["upstream"]["proven"], row["heir"]) == ("1.1", False, "tiny-1.0")
    assert row["need"]["kept_by"] == [
        "0002-change.patch (does not apply)",
        "0004-change.patch (applies at other lines)",
        "0005-change.patch (target deleted)",
    ]
    assert (project.root / "issue.md").read_text() == (
        "### `tiny-1.0`\n\n"
        "- [ ] pin `1.1` in a recipe: the newest release has no recipe\n"
        "- [ ] drop `0001-change.patch`: 1.1 has it already\n"
        "- [ ] make `0002-change.patch` anew: it does not apply to 1.1; a bump says conflict "
        "(`tinycuda/extra/deep.py:1`)\n"
        "- [ ] drop `0003-change.patch`: what it changes is gone from 1.1; see that the fault went with it\n"
        "- [ ] aim `0005-change.patch` elsewhere, or drop it: 1.1 lacks a file that it changes; "
        "a bump says target renamed "
        "(`tinycuda/dos.py; there is tinycuda/extra/dos.py`)\n\n"
        "### How the recipes stand\n\n"
        "- `tiny-1.0`: newest is `1.1`; kept by `0002-change.patch (does not apply)` and 2 more\n\n"
        "`retread watch` wrote this; what it prints for one recipe says more: `retread watch RECIPE`.\n"
    )
    assert project.entries(Kind.PATCHED) == []


def test_nothing_is_fetched_twice(project: Project) -> None:
    release(project)
    watch(project)
    project.index.log.clear()
    watch(project)
    assert [one.path for one in project.index.log] == ["/simple/tinycuda/"]


def test_a_release_that_has_a_recipe_asks_nothing_of_older_ones(project: Project) -> None:
    project.series(MENDED, REWORKED)
    release(project)
    text = project.recipe_text.replace('"tiny-1.0"', '"tiny-1.1"').replace(
        'version = "1.0"', 'version = "1.1"'
    )
    text = text.replace("tinycuda-1.0-py3", "tinycuda-1.1-py3").replace("tinycuda-1.0.tar.gz", SDIST)
    (project.root / "recipes" / "tiny-1.1.toml").write_text(text)
    folder = project.root / "patches" / "tinycuda" / "1.1"
    folder.mkdir()
    (folder / "series").write_text("")
    row = only(project, "tiny-1.0")
    assert (row["heir"], row["tasks"]) == ("tiny-1.1", [])
    assert len(row["need"]["kept_by"]) == 1


def test_pre_releases_yanked_ones_and_somebody_s_builds_are_not_new(project: Project) -> None:
    files = project.index.files["tinycuda"]
    listed = [{"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": sha256(data)}}
              for name, data in files.items()]  # fmt: skip
    yanked = "tinycuda-1.2.tar.gz"
    listed += [{"filename": name, "url": f"../../files/{name}", "hashes": {}, "yanked": name == yanked}
               for name in ("tinycuda-1.1rc1.tar.gz", yanked, "tinycuda-1.3+cu128.1.tar.gz")]  # fmt: skip
    page = {"meta": {"api-version": "1.0"}, "name": "tinycuda", "files": listed}
    project.index.pages["tinycuda"] = json.dumps(page).encode()
    assert not only(project)["upstream"]["newer"]


def test_a_release_without_a_source_is_named(project: Project) -> None:
    release_wheel(project)
    row = only(project)
    assert row["upstream"]["without_source"] == ["1.1"]
    assert asked(row) == [("look at {}", "1.1")]
    assert "to do: look at 1.1: it is newer still and has no source archive" in watch(project).out


# Whether the recipe is needed.


def test_a_wheel_that_does_all_makes_the_recipe_needless(project: Project) -> None:
    release(project)
    release_wheel(project)
    whole = found(project, "--issue", "issue.md")
    (row,) = whole["recipes"]
    assert whole["attention"]
    assert whole["title"] == "Upstream: tiny-1.0 wants attention"
    assert row["need"] == {"wheel": NEW_WHEEL, "kept_by": []}
    text = (project.root / "issue.md").read_text()
    assert f"- [ ] retire the recipe for `{NEW_WHEEL}`: every target is served by it" in text
    assert "pin" not in text


def lose_the_library(files: dict[str, bytes]) -> None:
    del files["tinycuda/_C.so"]


def want_torch(files: dict[str, bytes]) -> None:
    name = "tinycuda-1.1.dist-info/METADATA"
    files[name] = files[name].replace(b"torch>=2.8", b"torch==2.15.0")


@pytest.mark.parametrize(
    ("change", "lack"),
    [
        (lose_the_library, "cu128: the upstream wheel holds no GPU code"),
        (want_torch, "cu128: the upstream wheel is for torch ==2.15.0, the target for >=2.8"),
    ],
)
def test_a_wheel_that_lacks_something_keeps_the_recipe(
    project: Project, change: Callable[[dict[str, bytes]], object], lack: str
) -> None:
    release(project)
    release_wheel(project, change)
    row = only(project)
    assert row["need"] == {"wheel": NEW_WHEEL, "kept_by": [lack]}
    assert (row["tasks"][0]["action"], len(row["tasks"])) == ("pin {} in a recipe", 2)


def test_a_wheel_without_the_target_s_architectures_keeps_the_recipe(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    release(project)
    release_wheel(project)
    assert only(project)["need"]["kept_by"] == [
        "cu128: upstream's tinycuda/_C.so has no native code for 10.0"
    ]


def test_the_wheel_is_fetched_only_when_nothing_else_decides(project: Project) -> None:
    project.series(MENDED, MOVED)
    release(project)
    release_wheel(project)
    assert only(project)["need"]["wheel"] == ""
    assert project.index.asked_for(NEW_WHEEL) == []
    project.series(MENDED)
    del project.index.files["tinycuda"][NEW_WHEEL]
    assert only(project)["need"]["kept_by"] == ["1.1: the index has no wheel for this machine"]


# What goes wrong.


def test_an_index_that_cannot_be_reached(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    result = watch(project, "--issue", "issue.md", code=7)
    assert result.err.endswith(
        "retread: fetch: not everything could be asked for tiny-1.0\n"
        "  - tiny-1.0: an index does not say what it has of tinycuda: http://127.0.0.1:9/simple/: no connection\n"
        "  next: check the index settings (PIP_INDEX_URL, UV_DEFAULT_INDEX, pip's configuration) and the network\n"
    )
    assert re.search(r"tiny-1\.0 +unknown +unknown +unknown +left out\n", result.out)
    assert "- [ ] ask again for `tiny-1.0`: it stopped with a fetch error (`an index" in (
        (project.root / "issue.md").read_text()
    )
    assert found(project, code=7)["attention"]


def test_one_index_of_two_that_fails_is_no_answer(
    project: Project, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://user:secret@{index.host}/other/")
    index.status["/other/tinycuda/"] = 503
    result = watch(project, code=7)
    assert "the server answered 503" in result.err
    assert "secret" not in result.err + result.out
    index.status["/other/tinycuda/"] = 404
    assert only(project)["upstream"]["version"] == "1.0"


def test_a_folder_is_an_index_too(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / release(project)).write_bytes(project.index.files["tinycuda"].pop(SDIST))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("UV_INDEX", f"file://{tmp_path}/not-read")
    assert only(project)["upstream"]["version"] == "1.1"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert only(project)["upstream"]["newer"]
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert "no index is configured" in watch(project, code=7).err


def fifo() -> tarfile.TarInfo:
    made = tarfile.TarInfo("tinycuda-1.1/pipe")
    made.type = tarfile.FIFOTYPE
    return made


def below_a_file() -> tarfile.TarInfo:
    return tarfile.TarInfo("tinycuda-1.1/setup.py/x")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (tarfile.TarInfo("tinycuda-1.1/../../evil"), "leaves the folder that it is unpacked into"),
        (fifo(), "is not a plain file"),
        (below_a_file(), "'setup.py/x' is a file and a folder"),
        (tarfile.TarInfo("tinycuda-1.1/setup.py"), "setup.py occurs twice"),
    ],
)
def test_a_source_archive_that_does_not_unpack_safely(
    project: Project, more: tarfile.TarInfo, words: str
) -> None:
    release(project, LATER, more)
    result = watch(project, code=4)
    assert f"  - tiny-1.0: {SDIST}: " in result.err
    assert words in result.err
    assert project.entries(Kind.TREES) == []


def test_a_broken_or_swapped_source_archive(project: Project) -> None:
    release(project)
    project.index.files["tinycuda"][SDIST] = b"no archive"
    assert f"{SDIST} cannot be read as a source archive" in watch(project, code=4).err
    project.index.files["tinycuda"]["tinycuda-1.2.tar.gz"] = b"right"
    project.index.wrong["tinycuda-1.2.tar.gz"] = b"wrong"
    assert "tinycuda-1.2.tar.gz is not what" in watch(project, code=7).err
    assert project.partials() == []


def test_what_the_index_does_not_vouch_for_is_not_fetched(project: Project) -> None:
    release(project)
    project.index.digests[SDIST] = ""
    assert f"the index states no sha256 of {SDIST}; it is not downloaded" in watch(project, code=7).err
    project.index.files["tinycuda"].pop(SDIST)
    project.index.digests["tinycuda-1.0.tar.gz"] = 64 * "a"
    result = watch(project, code=7)
    assert "the index has another tinycuda-1.0.tar.gz than the recipe pins" in result.err
    assert project.index.asked_for(SDIST) == project.index.asked_for("tinycuda-1.0.tar.gz") == []


def test_a_project_without_any_source_archive(project: Project) -> None:
    project.index.files["tinycuda"] = {WHEEL: b""}
    assert "the index has no source archive of any release of tinycuda" in watch(project, code=7).err


def test_one_recipe_that_fails_hides_no_other(project: Project) -> None:
    release(project)
    recipes = project.root / "recipes"
    (recipes / "bad-1.0.toml").write_text("name = 1\n")
    other = project.recipe_text.replace('"tiny-1.0"', '"other-1.0"').replace('"tinycuda"', '"othercuda"')
    (recipes / "other-1.0.toml").write_text(other.replace("tinycuda-1.0-py3", "othercuda-1.0-py3"))
    folder = project.root / "patches" / "othercuda" / "1.0"
    folder.mkdir(parents=True)
    (folder / "series").write_text("")
    whole = found(project, code=3)
    rows = {row["recipe"]: row for row in whole["recipes"]}
    assert list(rows) == ["bad-1.0", "other-1.0", "tiny-1.0"]
    assert rows["bad-1.0"]["errors"][0].startswith("recipe bad-1.0 has ")
    assert rows["other-1.0"]["errors"][0].startswith("no index has anything of othercuda")
    assert asked(rows["tiny-1.0"])[0] == ("pin {} in a recipe", "1.1")
    assert rows["tiny-1.0"]["errors"] == []
    result = watch(project, code=3)
    assert "retread: recipe: not everything could be asked for bad-1.0, other-1.0\n" in result.err
    assert result.out.endswith("\nUpstream: 3 recipes want attention\n")


def test_an_unknown_recipe_is_usage(project: Project) -> None:
    result = watch(project, "tiny-1.0", "tiny-1.1", code=2)
    assert "there is no recipe 'tiny-1.1' (did you mean 'tiny-1.0'?)" in result.err
    assert (result.out, project.index.log) == ("", [])


# The jit level.


@pytest.fixture
def tried(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project with a suite, whose index has torch and Triton, newer than the recipe's."""
    (project.root / "smoke").mkdir()
    (project.root / "smoke" / "demo.py").write_text(SUITE)
    project.write_recipe(project.recipe_text + TRIAL)
    serve(project, "2.10.0", "3.7.0")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return project


def serve(project: Project, torch: str, triton: str) -> None:
    """Serve the recipe's torch and Triton, newer ones, and pre-releases that are newer still."""
    project.index.files["torch"] = dict(
        map(faketorch.wheel, map(faketorch.files, ("2.9.1", torch, "3.0.0rc1")))
    )
    project.index.files["triton"] = dict(
        map(faketorch.wheel, map(faketorch.triton, ("3.5.1", triton, "4.0.0.dev1")))
    )


def with_jit(project: Project, code: int = 0) -> Any:
    result = project.run("watch", "--json", "--issue", "issue.md")
    assert result.code == code, result
    check_clean(project)
    assert names(project.root.parents[1] / "tmp") == []
    return json.loads(result.out)["recipes"][0]


def test_the_wheel_is_tried_under_the_newest_torch_and_triton(tried: Project) -> None:
    row = with_jit(tried)
    jit = row["jit"]
    assert (jit["state"], jit["torch"], jit["triton"], jit["passed"]) == ("passed", "2.10.0", "3.7.0", 1)
    assert (jit["target"], jit["wheel"]) == ("cu128", BUILT)
    assert tried.entries(Kind.WHEELS) != []
    assert row["tasks"] == []


def test_kernels_that_fail_under_the_newest_are_told(tried: Project) -> None:
    serve(tried, "2.10.0", "3.8.0")
    row = with_jit(tried)
    assert (row["jit"]["state"], row["jit"]["failed"]) == ("failed", 1)
    text = (tried.root / "issue.md").read_text()
    assert (
        "- [ ] mend what fails under `torch 2.10.0, Triton 3.8.0`: 1 of 1 cases fail "
        "(`` demo/compiles/sm_100: AssertionError: no `kernel`"
    ) in text
    assert "\n@" not in text
    shown = tried.run("watch").out
    assert re.search(r"tiny-1\.0 .* FAILED\n", shown)
    assert "FAILED demo/compiles/sm_100: AssertionError: no `kernel`" in shown


def test_kernels_that_were_all_skipped_have_not_passed(tried: Project) -> None:
    skips = SUITE.replace("    import torch, triton\n", '    raise harness.Skip("no block pointers")\n')
    (tried.root / "smoke" / "demo.py").write_text(skips)
    row = with_jit(tried)
    assert (row["jit"]["state"], row["jit"]["passed"], row["jit"]["skipped"]) == ("nothing ran", 0, 1)
    assert row["tasks"] == []
    said = "torch 2.10.0, Triton 3.7.0: nothing ran, 1 skipped"
    assert f"jit `{said}`" in (tried.root / "issue.md").read_text()
    shown = tried.run("watch").out
    assert re.search(r"tiny-1\.0 .* nothing ran\n", shown)
    assert f"    jit: {said}\n        1 skipped: no block pointers\n" in shown


def test_a_target_that_is_not_made_for_the_newest_torch_is_not_built(tried: Project) -> None:
    tried.edit_recipe('torch = ">=2.8"', 'torch = ">=2.8,<2.10"')
    jit = with_jit(tried)["jit"]
    assert (jit["state"], jit["why"]) == (
        "not made for it",
        "cu128 is for torch >=2.8,<2.10, the newest is 2.10.0",
    )
    assert tried.entries(Kind.WHEELS) == []


def test_a_recipe_without_overlay_or_trial_is_not_tried(tried: Project) -> None:
    tried.edit_recipe('triton = ["3.5.1"]\n', "")
    assert with_jit(tried)["jit"]["why"] == "the recipe does not say how cu128 is tried under a Triton"
    tried.series(diff("csrc/add.cu", FILES["csrc/add.cu"], "// other\n"))
    jit = with_jit(tried)["jit"]
    assert jit["state"] == "not tried"
    assert jit["why"] == "cu128: 0001-change.patch touches csrc/add.cu, a native input (csrc/**)"


def test_an_index_without_torch_hides_nothing_else(tried: Project) -> None:
    release(tried)
    del tried.index.files["torch"]
    row = with_jit(tried, code=7)
    assert (row["jit"], row["upstream"]["version"]) == (None, "1.1")
    assert row["errors"][0].startswith("no index has anything of torch: http://127.0.0.1:")


def test_a_page_that_is_no_page(project: Project) -> None:
    project.index.pages["tinycuda"] = b"{"
    assert "its page for tinycuda cannot be read" in watch(project, code=7).err
