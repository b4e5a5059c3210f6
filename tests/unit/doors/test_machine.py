"""What lies beside retread: the versions of packages, read off the names of their folders."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from retread.doors import machine


def test_versions_are_what_importlib_says() -> None:
    names = ["msgspec", "packageurl-python", "cyclonedx-python-lib", "pytest", "ruff", "no-such-package"]
    found = machine.installed(names)
    assert found.pop("no-such-package") == ""
    assert found == {name: metadata.version(name) for name in names[:-1]}


@pytest.mark.parametrize("way", ["dist-info", "egg-info", "zip"])
def test_a_package_counts_in_whatever_way_it_is_installed(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Metadata-Version: 2.1\nName: Some.Thing\nVersion: 1.0+cu128\n"
    first, second = tmp_path / "first", tmp_path / "second"
    if way == "zip":
        with zipfile.ZipFile(first, "w") as archive:
            archive.writestr("some_thing-1.0+cu128.dist-info/METADATA", said)
    else:
        folder = first / ("Some.Thing.egg-info" if way == "egg-info" else "some_thing-1.0+cu128.dist-info")
        folder.mkdir(parents=True)
        (folder / ("PKG-INFO" if way == "egg-info" else "METADATA")).write_text(said)
    (second / "some_thing-2.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "gone"), str(second)])
    assert machine.installed(["some-thing", "other"]) == {"some-thing": "1.0+cu128", "other": ""}
