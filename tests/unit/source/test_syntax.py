"""Python files that compiled before a series, or are new, and do not after it: told with file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from retread.errors import SeriesError
from retread.recipe.proof import blob_id
from retread.recipe.series import parse_series
from retread.source import syntax
from retread.source.records import Manifest, SourceTree

HEAD = "Subject: s\nBreaks: b\nAffects: a\nUpstream: not reported\nDrop-when: never\n---\n"
HUNK = "--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+b\n"


NEW = "--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+b\n"
MOVED = "diff --git a/t.py b/x.py\nsimilarity index 100%\nrename from t.py\nrename to x.py\n"


def broken(folder: Path, path: str, before: str | None, after: str) -> list[str]:
    """Return what is told of one file that a patch makes another one."""
    for name, text in (("tree", before), ("work", after)):
        if text is not None:
            (folder / name / path).parent.mkdir(parents=True)
            (folder / name / path).write_text(text)
    files = {} if before is None else {path: blob_id(before.encode())}
    source = SourceTree(root=folder / "tree", manifest=Manifest(commit="", time=0, files=files, unproven=()))
    patch = (HEAD + (NEW if before is None else HUNK).format(path=path)).encode()
    patches = parse_series({"series": b"0001-a.patch", "0001-a.patch": patch}, where="x")
    return syntax.broken(source, patches, folder / "work")


def test_a_file_that_does_not_compile_any_more_is_told_with_its_line(tmp_path: Path) -> None:
    told = broken(tmp_path, "demo/x.py", "A = 1\n", "A = 1\n\ndef f(:\n")
    with pytest.raises(SeriesError) as caught:
        syntax.demand_whole(told)
    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        f"after the series Python {sys.version_info[0]}.{sys.version_info[1]} cannot compile 1 Python file "
        "that it could before, or that the series adds\n"
        "  - 0001-a.patch: demo/x.py:3: SyntaxError: invalid syntax\n  next: mend the lines that the patch adds there"
    )


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("x.py", "A = 1\n", "A = 2 if 1 is 1 else '\\d'\n"),
        ("x.py", "{{ name }} = (\n", "{{ name }} = ((\n"),
        ("x.py", None, "A = 1\n"),
        ("x.cu", "int a;\n", "int b;\n"),
    ],
)
def test_what_compiles_or_never_did_is_left_alone(
    tmp_path: Path, path: str, before: str | None, after: str
) -> None:
    assert broken(tmp_path, path, before, after) == []


def test_a_new_file_that_does_not_compile_is_told_too(tmp_path: Path) -> None:
    told = broken(tmp_path, "demo/new.py", None, "A = (\n")
    assert told == ["0001-a.patch: demo/new.py:1: SyntaxError: '(' was never closed"]


@pytest.mark.parametrize(("template", "faults"), [("{{ name }} = (\n", 0), ("A = 1\n", 1)])
def test_a_template_under_another_name_is_left_alone(tmp_path: Path, template: str, faults: int) -> None:
    for name, text in (("tree/t.py", template), ("work/x.py", "{{ name }} = (\n")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    manifest = Manifest(commit="", time=0, files={"t.py": blob_id(template.encode())}, unproven=())
    source = SourceTree(root=tmp_path / "tree", manifest=manifest)
    series = {"series": b"0001-a.patch", "0001-a.patch": (HEAD + MOVED).encode()}
    assert len(syntax.broken(source, parse_series(series, where="x"), tmp_path / "work")) == faults
