"""The kit as it lies on a machine: checked against its manifest, its wheels installed into a temporary folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from typing import Any

from retread.canonical import digest
from retread.smoke.runtime import Refusal

MANIFEST = "kit.json"
CHANGED = 17


class Kit:
    """An opened kit: its manifest, every file of which has been checked."""

    def __init__(self, path: str) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                self.files = {name: archive.read(name) for name in archive.namelist()}
            raw = self.files.pop(MANIFEST)
            self.manifest: dict[str, Any] = json.loads(raw)
            listed: dict[str, str] = self.manifest["files"]
            said = self.manifest["digest"]
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise Refusal(CHANGED, f"{path} is not a whole kit: {error}") from None
        self.digest = hashlib.sha256(raw).hexdigest()
        found = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        wrong = {name for name in {*found, *listed} if found.get(name) != listed.get(name)}
        if digest(self.manifest) != said:
            wrong.add(MANIFEST)
        if wrong:
            raise Refusal(CHANGED, f"{path} was changed after it was made: {', '.join(sorted(wrong))}")

    def take(self, path: str) -> None:
        """Try a wheel that was made where the kit is; only a kit without one of its own takes one."""
        if self.manifest["wheel"]:
            raise Refusal(CHANGED, f"this kit tries {self.manifest['wheel']} and no other wheel")
        file = os.path.basename(path)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
            with _wheel(file, content) as source:
                said = HeaderParser().parsestr(source.read_dist_info("METADATA"))
                members = [one[0] for one, _, _ in source.get_contents()]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise Refusal(CHANGED, f"{path} is not a wheel that can be tried: {error}") from None
        self.manifest |= {
            "wheel": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "project": said["Name"],
            "version": said["Version"],
            "requires": said.get_all("Requires-Dist") or [],
            "libraries": [name for name in members if re.search(r"\.(so(\.\d+)*|pyd|dll)$", name)],
        }
        self.files[f"wheels/{file}"] = content

    def wheels(self) -> list[str]:
        """Return the members that are wheels, the one under test first."""
        first = f"wheels/{self.manifest['wheel']}"
        return sorted(
            (name for name in self.files if name.startswith("wheels/")), key=lambda name: name != first
        )


class Folder:
    """Where a test lives: the installed wheels, the suites, and folders that the tests are meant to leave empty."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.site = os.path.join(root, "site")
        self.scripts = os.path.join(root, "bin")
        self.suites = os.path.join(root, "suites")
        self.caches = os.path.join(root, "caches")
        self.empty = {name: os.path.join(root, name) for name in ("home", "tmp", "cwd")}
        for path in (self.site, self.scripts, self.suites, self.caches, *self.empty.values()):
            os.mkdir(path)

    def left(self) -> list[str]:
        """Return what was written where nothing should be."""
        found = []
        for name, path in self.empty.items():
            for folder, _, files in os.walk(path):
                found += [f"{name}/{os.path.relpath(os.path.join(folder, file), path)}" for file in files]
        return sorted(found)


def lay_out(kit: Kit, root: str) -> Folder:
    """Install the kit's wheels and write its suites into the empty folder ``root``."""
    from installer import install
    from installer.destinations import SchemeDictionaryDestination

    folder = Folder(root)
    data = os.path.join(root, "data")
    places = dict.fromkeys(("purelib", "platlib"), folder.site) | {"scripts": folder.scripts}
    places |= dict.fromkeys(("headers", "data"), data)
    destination = SchemeDictionaryDestination(places, interpreter=sys.executable, script_kind="posix")
    for name in kit.wheels():
        with _wheel(name, kit.files[name]) as source:
            install(source=source, destination=destination, additional_metadata={"INSTALLER": b"retread"})
    for name, content in kit.files.items():
        if name.startswith("suites/"):
            with open(os.path.join(root, name), "wb") as stream:
                stream.write(content)
    return folder


@contextmanager
def _wheel(name: str, content: bytes) -> Iterator[Any]:
    from installer.sources import WheelFile

    class Named(zipfile.ZipFile):
        """An archive in memory that bears its file name, which WheelFile reads."""

    with Named(io.BytesIO(content)) as archive:
        archive.filename = os.path.basename(name)
        yield WheelFile(archive)


def fits(wheel: str) -> str:
    """Return why this Python cannot install a wheel of that name; nothing when it can."""
    from packaging.tags import sys_tags
    from packaging.utils import parse_wheel_filename

    wanted = parse_wheel_filename(wheel)[3]
    if not wanted.isdisjoint(sys_tags()):
        return ""
    number = ".".join(map(str, sys.version_info[:2]))
    made_for = ", ".join(sorted(map(str, wanted)))
    return f"{wheel} is for {made_for}; this is Python {number} on {next(sys_tags()).platform}"
