"""Base wheels: proven to come from the pin, file by file, or not used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retread.doors.store import Kind
from retread.lanes import base, lane
from tinycuda import (
    FILES,
    LIBRARY,
    OPS,
    WHEEL,
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
    result = project.fails(8, "30 fault(s)", "evil19.py", "and 10 more")
    assert "evil20" not in result.err
