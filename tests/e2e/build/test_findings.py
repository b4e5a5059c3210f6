"""Ways around a promise that were found once: each must stay closed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from retread.cli import main
from retread.doors.store import Kind
from tinycuda import BUILT, FILES, Project, commit, git, proof, record, zip_bytes


def test_a_proof_of_another_commit_proves_nothing(project: Project, tmp_path: Path) -> None:
    other = commit(tmp_path / "other", {**FILES, "tinycuda/ops.py": "EVIL = 1\n"})
    path = project.root / "recipes" / "commits" / f"tinycuda-{project.upstream.commit[:12]}.tree"
    path.write_bytes(proof(tmp_path / "other", other))
    project.fails(4, f"it proves {other}, the recipe pins {project.upstream.commit}", room=Kind.TREES)


def test_a_repository_around_the_store_is_left_alone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    around = tmp_path / "re:po"
    around.mkdir()
    git(around, "init", "--quiet")
    monkeypatch.setenv("RETREAD_STORE", str(around / "store"))
    assert main.run(["build", "tiny-1.0", "--root", str(project.root), "-o", str(tmp_path / "out")]) == 0
    patched = zip_text(tmp_path / "out" / BUILT, "tinycuda/ops.py")
    assert patched != FILES["tinycuda/ops.py"]
    capsys.readouterr()


def zip_text(wheel: Path, name: str) -> str:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name).decode()


def test_git_holds_submodules_to_the_commit_too(project: Project, tmp_path: Path) -> None:
    other = commit(tmp_path / "lib", {"LICENSE": "another\n"})
    text = project.recipe_text.replace(project.upstream.inner_commit, other)
    project.write_recipe(text.replace(f"file://{project.upstream.inner}", f"file://{tmp_path / 'lib'}"))
    result = project.build("--source", "git")
    assert result.code == 4
    assert f"third_party/lib is pinned at {other[:12]}, the commit has" in result.err
    assert project.leftovers() == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("--upload-pack=touch pwned;", "pin.repository: '--upload-pack=touch pwned;' is an option"),
        ("https://me:secret@host/x", "pin.repository: holds a password"),
    ],
)
def test_a_repository_is_an_address_and_nothing_else(project: Project, address: str, words: str) -> None:
    project.write_recipe(project.recipe_text.replace(f"file://{project.upstream.repository}", address, 1))
    result = project.build("--source", "git")
    assert result.code == 3
    assert words in result.err
    assert "secret" not in result.err
    assert not (project.root / "pwned").exists()


def _restated(wheel: Path, change: dict[str, object], folder: Path) -> Path:
    """Return a copy of a wheel whose retread.json was edited by hand, RECORD and all."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    info = next(name for name in files if name.endswith("/RECORD")).partition("/")[0]
    said = json.loads(files[f"{info}/retread.json"])
    for key, value in change.items():
        place, _, field = key.rpartition(".")
        (said[place] if place else said)[field] = value
    files[f"{info}/retread.json"] = json.dumps(said).encode()
    del files[f"{info}/RECORD"]
    path = folder / wheel.name
    path.write_bytes(zip_bytes(files | {f"{info}/RECORD": record(files, info)}))
    return path


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({}, 0, ""),
        ({"version": "9.9"}, 12, "statement: retread.json: not what the wheel holds: tinycuda 9.9"),
        ({"libraries": {}}, 12, "statement: retread.json: not what the wheel holds: tinycuda/_C.so"),
        ({"promise.architectures": ["bogus"]}, 12, "retread.json is not retread's: 'bogus' is not an architecture"),
        ({"promise.torch": "??"}, 12, "retread.json is not retread's"),
        ({"promise.requires": ["?"]}, 12, "retread.json is not retread's"),
    ],
)  # fmt: skip
def test_a_statement_edited_by_hand_is_seen(
    project: Project, tmp_path: Path, change: dict[str, object], code: int, words: str
) -> None:
    project.build()
    result = project.run("audit", str(_restated(project.built, change, tmp_path)))
    assert result.code == code, result.err
    assert words in result.err


def test_another_revision_is_another_wheel(project: Project) -> None:
    project.build()
    project.edit_recipe("revision = 1", "revision = 7")
    result = project.run("audit", str(project.built), "--recipe", "tiny-1.0")
    assert result.code == 12
    assert "version: tinycuda 1.0+cu128.7: the wheel is tinycuda 1.0+cu128.1" in result.err


def test_a_target_without_a_recipe_means_nothing(project: Project) -> None:
    project.build()
    assert project.run("audit", str(project.built), "--target", "cu128").code == 2


def test_an_assembler_that_makes_other_code_is_refused(project: Project) -> None:
    # It answers for the new architecture, and with something else for the one that the library has.
    script = (
        "#!/bin/sh\nfor last; do :; done\ncase \"$*\" in *--version*) echo 'release 12.8, V12.8.93';; *sm_100*)"
        ' cp {data}/add.sm_100.cubin "$last";; *) echo junk > "$last";; esac\n'
    )
    project.add_toolchain("8.0", "9.0a", "10.0", script=script)
    project.fails(11, "does not make its own machine code again from its PTX", room=Kind.LIBRARIES)


def test_nothing_of_the_environment_is_needed_for_a_store(tmp_path: Path) -> None:
    program = "from retread.doors.store import default_root; print(default_root({'XDG_CACHE_HOME': 'here'}))"
    done = subprocess.run(
        [os.sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "here" / "retread")


def test_what_a_patch_changes_outside_of_the_wheel_is_told(project: Project) -> None:
    project.series(
        "diff --git a/notes.txt b/notes.txt\nnew file mode 100644\n"
        "--- /dev/null\n+++ b/notes.txt\n@@ -0,0 +1 @@\n+hello\n"
    )
    result = project.build()
    assert result.code == 0, result.err
    assert "note: the wheel holds nothing of notes.txt, which the series changes" in result.err


def test_a_name_that_stood_for_other_bytes_is_told(project: Project) -> None:
    project.build()
    project.edit_recipe("revision = 1", 'revision = 1\nnote = "said"')
    assert (
        f"dist/{BUILT} held other bytes, of an earlier build or changed since, and was replaced"
        in project.build().err
    )
    copied = (project.root / "dist" / BUILT).read_bytes()
    (project.root / "dist" / BUILT).unlink()
    (project.root / "dist" / BUILT).write_bytes(copied)
    assert "held other bytes" not in project.build().err, "a copy is the same wheel"


def test_a_library_without_gpu_code_cannot_be_grafted(project: Project) -> None:
    result = project.run("graft", "/bin/sh", "--arch", "10.0", "-o", "new.so")
    assert result.code in {10, 11}
    assert not (project.root / "new.so").exists()


def test_a_recipe_without_a_proof_is_not_sound(project: Project) -> None:
    for path in (project.root / "recipes" / "commits").glob("tinycuda-*"):
        path.unlink()
    result = project.run("recipe", "check")
    assert result.code == 3
    assert f"there is no proof of {project.upstream.commit[:12]}" in result.err
