"""The finished wheel: what nothing changed is copied, what changed is right, the same inputs give the same bytes."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import jsonschema
import pytest
from installer.records import parse_record_file

from retread.cli import main
from retread.errors import PlanError
from retread.wheel.wheelfile import Wheel
from tinycuda import (
    BUILT,
    FILES,
    INFO,
    LIBRARY,
    OPS,
    TIME,
    WHEEL,
    Project,
    diff,
    names,
    ops,
    record,
    wheel_files,
    zip_bytes,
)

NEW_INFO = "tinycuda-1.0+cu128.1.dist-info"


def _built(project: Project) -> dict[str, bytes]:
    result = project.build()
    assert result.code == 0, result.err
    with zipfile.ZipFile(project.built) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_nothing_changes_but_what_was_meant_to(project: Project) -> None:
    built = _built(project)
    expected = {name.replace(INFO, NEW_INFO): data for name, data in wheel_files().items()}
    expected[OPS] = ops(VALUE_3=30).encode()
    expected["tinycuda/version.py"] = b'__version__ = "1.0+cu128.1"\n'
    expected[f"{NEW_INFO}/METADATA"] = expected[f"{NEW_INFO}/METADATA"].replace(b"1.0\n", b"1.0+cu128.1\n")
    made = {f"{NEW_INFO}/RECORD", f"{NEW_INFO}/retread.json", f"{NEW_INFO}/sboms/tinycuda.cdx.json"}
    assert set(built) == set(expected) | made
    assert {name: data for name, data in built.items() if name not in made} == expected


def test_unchanged_members_keep_their_compressed_bytes(project: Project, tmp_path: Path) -> None:
    _built(project)
    (tmp_path / WHEEL).write_bytes(project.index.files["tinycuda"][WHEEL])
    with Wheel(tmp_path / WHEEL) as base, Wheel(project.built) as wheel:
        for name in (LIBRARY, "tinycuda/dos.py"):
            old = b"".join(base.archive.raw_chunks(base.archive.by_name[name]))
            assert b"".join(wheel.archive.raw_chunks(wheel.archive.by_name[name])) == old


def test_files_are_added_deleted_and_kept_out_as_the_build_would(project: Project) -> None:
    project.series(
        diff("tinycuda/new.py", "", "NEW = 1\n"),
        diff("tinycuda/extra/deep.py", FILES["tinycuda/extra/deep.py"], ""),
        diff("README.md", FILES["README.md"], "# other\n"),
        diff("NEWS.md", "", "news\n"),
        diff("docs/page.md", "", "page\n"),
    )
    built = _built(project)
    assert built["tinycuda/new.py"] == b"NEW = 1\n"
    assert "tinycuda/extra/deep.py" not in built
    assert not {"README.md", "NEWS.md", "docs/page.md"} & set(built)
    rows = {row[0] for row in parse_record_file(built[f"{NEW_INFO}/RECORD"].decode().splitlines())}
    assert rows == set(built)


def test_a_new_file_in_a_new_folder_of_the_package_is_refused(project: Project) -> None:
    """Only the build could say whether the folder is a package; dropping the file silently would be wrong."""
    project.series(diff("tinycuda/fresh/__init__.py", "", "NEW = 1\n"))
    project.fails(
        PlanError.exit_code, "0001-change.patch adds tinycuda/fresh/__init__.py in a folder that the source"
    )


def test_an_executable_file_stays_executable_when_it_is_patched(project: Project) -> None:
    files = wheel_files()
    data = zip_bytes({**files, f"{INFO}/RECORD": record(files)}, {OPS: 0o100755})
    project.publish(wheel=data)
    _built(project)
    with zipfile.ZipFile(project.built) as archive:
        modes = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
    assert modes[OPS] == stat.S_IFREG | 0o755
    assert modes["tinycuda/dos.py"] == stat.S_IFREG | 0o644


def test_a_requirement_of_the_target_replaces_the_base_s(project: Project) -> None:
    project.edit_recipe(
        "revision = 1\n", 'revision = 1\nrequires = ["torch>=2.8", "nvidia-cuda-runtime-cu12>=12.8"]\n'
    )
    metadata = _built(project)[f"{NEW_INFO}/METADATA"].decode()
    assert metadata.count("Requires-Dist: torch") == 1
    assert "Requires-Dist: nvidia-cuda-runtime-cu12>=12.8\n" in metadata


@pytest.mark.parametrize(
    ("metadata", "recipe"),
    [("<3,>=2.3", ">=2.3,<3"), (">=2.3,<3", "<3, >=2.3"), (" (>=2.3,<3)", ">=2.3,<3"), ("==2.8", "==2.8.0")],
)
def test_a_range_of_torch_is_the_same_however_it_is_written(
    project: Project, metadata: str, recipe: str
) -> None:
    torch = f"torch{metadata}\n".encode()
    project.publish_wheel(
        lambda files: files.update(
            {f"{INFO}/METADATA": files[f"{INFO}/METADATA"].replace(b"torch>=2.8\n", torch)}
        )
    )
    project.edit_recipe('torch = ">=2.8"', f'torch = "{recipe}"')
    assert torch in _built(project)[f"{NEW_INFO}/METADATA"]


@pytest.mark.parametrize("requires", ["", 'requires = ["other>=1"]'])
@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("torch>=2.8", "'torch>=2.8'"),
        ("numpy", "nothing of it"),
        ("Torch==2.7.1; python_version < '3.10'", "'Torch==2.7.1; python_version < \"3.10\"'"),
        ("torch>=2.9\nRequires-Dist: torch<3", "'torch>=2.9' and 'torch<3'"),
    ],
)
def test_another_torch_is_refused_and_both_are_quoted(
    project: Project, metadata: str, said: str, requires: str
) -> None:
    project.publish_wheel(
        lambda files: files.update(
            {f"{INFO}/METADATA": files[f"{INFO}/METADATA"].replace(b"torch>=2.8", metadata.encode())}
        )
    )
    project.edit_recipe('torch = ">=2.8"', f'torch = ">=2.9"\n{requires}')
    project.fails(
        8,
        f"base: {WHEEL} requires another torch than the target's 'torch>=2.9': its METADATA says {said}\n",
        "correct targets.cu128.torch, or say 'torch>=2.9' in its 'requires' to replace that",
    )


def test_a_wheel_for_no_torch_must_not_require_one(project: Project) -> None:
    project.edit_recipe('torch = ">=2.8"\n', "")
    said = "requires torch, and the target names none: its METADATA says 'torch>=2.8'\n"
    project.fails(8, f"base: {WHEEL} {said}", "say under targets.cu128.torch for which it is made")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("""find = '"1.0"'""", "find = '2.0'", "'2.0' stands 0 times in tinycuda/version.py"),
        ("""find = '"1.0"'""", "find = '_'", "'_' stands 4 times in tinycuda/version.py"),
        ('file = "tinycuda/version.py"', 'file = "tinycuda/none.py"', "has no tinycuda/none.py"),
        ('file = "tinycuda/version.py"', f'file = "{OPS}"', f"the series touches {OPS}"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(project: Project, old: str, new: str, words: str) -> None:
    project.edit_recipe(old, new)
    project.fails(3, "edit: ", words)


def test_an_edit_whose_result_is_there_is_none(project: Project) -> None:
    project.edit_recipe("""find = '"1.0"'""", """find = '"0.9"'""")
    project.edit_recipe("""replace = '"{version}"'""", """replace = '"1.0"'""")
    assert b'"1.0"' in _built(project)["tinycuda/version.py"]


def test_the_wheel_says_what_went_into_it(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    statement = json.loads(_built(project)[f"{NEW_INFO}/retread.json"])
    assert statement["commit"] == project.upstream.commit
    assert statement["commit_time"] == TIME
    assert [one["subject"] for one in statement["series"]] == ["Change 0001-change.patch"]
    assert statement["base"]["file"] == WHEEL
    assert main.run(["recipe", "schema", "statement"]) == 0
    jsonschema.validate(statement, json.loads(capsys.readouterr().out))


def test_the_bill_of_materials_holds_the_patches(project: Project) -> None:
    bill = json.loads(_built(project)[f"{NEW_INFO}/sboms/tinycuda.cdx.json"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    (patch,) = bill["metadata"]["component"]["pedigree"]["patches"]
    assert "+VALUE_3 = 30" in patch["diff"]["text"]["content"]
    assert [one["name"] for one in bill["components"]] == ["lib"]


def test_the_file_is_named_after_its_version(project: Project) -> None:
    _built(project)
    assert names(project.root / "dist") == [BUILT, f"{BUILT}.audit.json"]
    project.edit_recipe("revision = 1", "revision = 10")
    assert project.build().wheel.name == BUILT.replace("cu128.1", "cu128.10")
