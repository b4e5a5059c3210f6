"""The same inputs give the same bytes, whatever the machine is like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tinycuda import (
    Project,
)

if TYPE_CHECKING:
    import pytest


def test_the_same_inputs_give_the_same_bytes(
    make_project: Callable[[str], Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for number, (mask, zone) in enumerate([(0o022, "UTC"), (0o077, "Asia/Kolkata"), (0o000, "America/Lima")]):
        monkeypatch.setenv("RETREAD_STORE", str(tmp_path / f"store{number}"))
        monkeypatch.setenv("TZ", zone)
        project = make_project(f"deep/{'x' * number}er{number}")
        old = os.umask(mask)
        try:
            assert project.build().code == 0
        finally:
            os.umask(old)
        found.add(project.built.read_bytes())
    assert len(found) == 1
