"""Base wheels: proven to come from the pin, file by file, or not used."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable

import pytest

from retread.doors.store import Kind
from retread.lanes import base, lane
from tinycuda import (
    FILES,
    INFO,
    LIBRARY,
    OPS,
    WHEEL,
    WHEEL_TEXT,
    Project,
)


def _proven(project: Project) -> lane.ProvenBase:
    (key,) = project.entries(Kind.BASES)
    return base.load(project.store / "bases" / key[:2] / key)


def test_every_file_is_the_source_s_or_generated_by_name(project: Project) -> None:
    assert project.build().code == 0
    found = _proven(project)
    assert found.proven == sum(path.startswith("tinycuda/") for path in FILES)
    assert set(found.generated) == {LIBRARY, "tinycuda/version.py"}
    assert set(found.libraries) == {LIBRARY}


TAG = "Tag: py3-none-manylinux_2_17_x86_64"
WAIVER = '[targets.cu128.waive]\nwheel = "the index renamed it"\n{more}\n[[targets.cu128.base]]'


def test_a_base_that_breaks_a_rule_itself_is_taken_with_a_waiver_that_everybody_can_read(
    project: Project,
) -> None:
    text = WHEEL_TEXT.replace(TAG, "Tag: py3-none-linux_x86_64").encode()
    project.publish_wheel(lambda files: files.update({f"{INFO}/WHEEL": text}))
    project.fails(9, "WHEEL: Tag is 'py3-none-linux_x86_64', the file name says", room=Kind.BASES)
    project.edit_recipe("[[targets.cu128.base]]", WAIVER.format(more='glibc = "not so"\n'))
    project.fails(
        3, f"{WHEEL} does not break what is waived\n  - targets.cu128.waive.glibc\n", "take the waiver out"
    )
    project.edit_recipe('glibc = "not so"\n', "")
    assert project.build().code == 0
    with zipfile.ZipFile(project.built) as archive:
        assert TAG in archive.read(f"{INFO.replace('1.0', '1.0+cu128.1')}/WHEEL").decode()
    assert "waived: wheel: the index renamed it" in project.run("inspect", str(project.built)).out
    shown = json.loads(project.run("audit", "--json", str(project.built)).out)
    assert shown["waived"] == {"wheel": "the index renamed it"}
    assert shown["ok"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files.update({OPS: b"EVIL = 1\n"}), f"{OPS}: differs from the pinned source"),
        (lambda files: files.update({"tinycuda/evil.py": b""}), "tinycuda/evil.py: not in the pinned source"),
        (lambda files: files.update({"evil.pth": b"import evil"}), "evil.pth: not in the pinned source"),
        (
            lambda files: files.update({"tinycuda-1.0.data/scripts/evil": b""}),
            "tinycuda-1.0.data/scripts/evil: not in the pinned source",
        ),
    ],
)
def test_a_wheel_that_differs_from_the_source_is_refused(
    project: Project, change: Callable[[dict[str, bytes]], object], words: str
) -> None:
    project.publish_wheel(change)
    project.fails(8, "retread: base: ", f"{WHEEL} does not come from {project.upstream.commit[:12]}", words,
                  "under 'generated'", room=Kind.BASES)  # fmt: skip


def test_every_fault_is_named_up_to_twenty(project: Project) -> None:
    project.publish_wheel(lambda files: files.update({f"tinycuda/evil{n:02}.py": b"" for n in range(30)}))
    result = project.fails(8, "30 faults", "evil19.py", "and 10 more")
    assert "evil20" not in result.err
