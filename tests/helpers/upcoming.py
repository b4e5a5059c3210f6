"""The next release of tinycuda, to which its recipe is carried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tinycuda import (
    FILES,
    INFO,
    INNER,
    METADATA,
    SDIST,
    WHEEL,
    Project,
    git,
    make_sdist,
    record,
    wheel_files,
    zip_bytes,
)  # fmt: skip


class Next:
    """The next release of tinycuda: a clone with a tag, an archive and a wheel on the index."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.clone = folder / "clone"
        self.series = project.root / "patches" / "tinycuda"
        project.edit_recipe('name = "tiny-1.0"', 'name = "tinycuda-1.0"')
        (project.root / "recipes" / "tiny-1.0.toml").rename(project.root / "recipes" / "tinycuda-1.0.toml")

    def release(
        self, files: Mapping[str, str], *, tag: str = "v1.1", sdist: Mapping[str, str] | None = None
    ) -> None:
        """Publish 1.1 with these files."""
        git(self.clone.parent, "clone", "--quiet", str(self.project.upstream.repository), "clone")
        for path in FILES:
            (self.clone / path).unlink()
        for path, text in files.items():
            (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / path).write_bytes(text.encode())
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--allow-empty", "--message", "second")
        git(self.clone, "tag", tag)
        packed = {f"tinycuda-1.1/{path}": text.encode() for path, text in (sdist or files).items()}
        packed |= {f"tinycuda-1.1/third_party/lib/{path}": text.encode() for path, text in INNER.items()}
        packed["tinycuda-1.1/PKG-INFO"] = METADATA.encode()
        served = self.project.index.files["tinycuda"]
        served[SDIST.replace("1.0", "1.1")] = make_sdist(packed)
        self.require("torch>=2.8")

    def edit(self, old: str, new: str) -> None:
        """Replace a text that stands once in the recipe of 1.0."""
        path = self.project.root / "recipes" / "tinycuda-1.0.toml"
        text = path.read_text()
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new))

    def require(self, torch: str, **more: bytes) -> None:
        """Publish the wheel of 1.1, which requires a torch, with more files, or others."""
        new = INFO.replace("1.0", "1.1")
        files = {name.replace(INFO, new): data for name, data in wheel_files().items()} | more
        text = METADATA.replace("Version: 1.0", "Version: 1.1").replace("torch>=2.8", torch)
        files[f"{new}/METADATA"] = text.encode()
        made = zip_bytes({**files, f"{new}/RECORD": record(files, new)})
        self.project.index.files["tinycuda"][WHEEL.replace("1.0", "1.1")] = made

    def bump(self, *words: str) -> tuple[int, dict[str, object], str]:
        """Run the command; return its code, its data and what it said."""
        line = ("recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--clone", str(self.clone), "--json", *words)
        result = self.project.run(*line)
        return result.code, json.loads(result.out or "{}"), result.err

    def state(self) -> dict[str, bytes]:
        """Return every file of the workspace."""
        root = self.project.root
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def refused(self, code: int, *words: str, said: tuple[str, ...]) -> None:
        """Run the command; nothing is written."""
        before = self.state()
        found, _, told = self.bump(*words)
        assert found == code, told
        for word in said:
            assert word in told, (word, told)
        assert self.state() == before
        assert self.project.leftovers() == []
