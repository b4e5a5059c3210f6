"""A first recipe: what the index, the wheel and the repository say is in it, the rest is left empty and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from retread.recipe import reading, writing
from tinycuda import (
    INFO,
    METADATA,
    SDIST,
    WHEEL,
    Project,
    git,
    make_sdist,
    make_wheel,
    sha256,
    wheel_files,
)

RECIPE = "recipes/tinycuda-1.0.toml"
ADDRESS = "https://nobody.invalid/tiny/tinycuda"


class Shelf:
    """A workspace without a recipe, and an index with tinycuda."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project
        self.files = project.index.files["tinycuda"]
        self.clone = folder / "clone"
        shutil.rmtree(project.root / "recipes")
        shutil.rmtree(project.root / "patches")
        (project.root / "recipes").mkdir()

    def tagged(self, tag: str = "v1.0") -> str:
        """Return the address of a repository that has the release's tag."""
        git(self.clone.parent, "clone", "--quiet", str(self.project.upstream.repository), "clone")
        git(self.clone, "tag", tag)
        return f"file://{self.clone}"

    def wheel(self, name: str = WHEEL, metadata: str = METADATA, **files: bytes | None) -> None:
        """Publish a wheel with other files; None leaves one out."""
        held = {**wheel_files(), f"{INFO}/METADATA": metadata.encode()}
        held |= {path: data for path, data in files.items() if data is not None}
        held = {path: data for path, data in held.items() if path not in files or files[path] is not None}
        self.files[name] = make_wheel(held)

    def new(self, *words: str, release: str = "tinycuda==1.0") -> Any:
        """Write the recipe; return the data, which is as its schema says."""
        result = self.project.run("recipe", "new", release, "--json", "-q", *words)
        assert result.code == 0, result
        data = json.loads(result.out)
        jsonschema.validate(data, json.loads(self.project.run("recipe", "schema", "recipe-new").out))
        return data

    def text(self) -> str:
        """Return the recipe."""
        return (self.project.root / RECIPE).read_text()

    def state(self) -> list[str]:
        """Return the files of the workspace."""
        root = self.project.root
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def refused(self, code: int, *words: str, said: tuple[str, ...], release: str = "tinycuda==1.0") -> None:
        """Write no recipe, and leave nothing."""
        before = self.state()
        result = self.project.run("recipe", "new", release, *words)
        assert (result.code, result.out) == (code, ""), result
        for word in said:
            assert word in result.err, (word, result.err)
        assert self.state() == before
        assert self.project.leftovers() == []


@pytest.fixture
def shelf(project: Project, tmp_path: Path) -> Shelf:
    return Shelf(project, tmp_path)


def test_with_the_repository_at_hand_the_recipe_is_whole(shelf: Shelf) -> None:
    data = shelf.new("--repository", shelf.tagged())
    up = shelf.project.upstream
    assert (data["commit"], data["open"], data["notes"]) == (up.commit, [], [])
    assert data["told"][-1] == f"confirmed: 10 of 11 files of the archive are those of {up.commit[:12]}"
    assert [(one["target"], one["lane"]) for one in data["lanes"]] == [("cu128", "overlay")]
    assert data["written"][-1] == RECIPE
    assert shelf.project.run("recipe", "check").code == 0
    recipe = reading.parse_recipe(shelf.text().encode(), name="tinycuda-1.0")
    assert recipe.native_inputs == ("setup.py", "csrc/**", "third_party/**")
    (module,) = recipe.pin.submodules
    assert (module.path, module.repository, module.commit) == (
        "third_party/lib",
        f"file://{up.inner}",
        up.inner_commit,
    )
    target = recipe.targets["cu128"]
    assert (target.torch, target.architectures, target.ptx) == (">=2.8", ("8.0", "9.0a"), ("8.0",))
    assert target.generated == ("tinycuda/version.py", "tinycuda/**.so")
    assert [(one.file, one.sha256) for one in target.base] == [(WHEEL, sha256(shelf.files[WHEEL]))]
    plain = [line for line in shelf.text().splitlines() if not line.startswith("#")]
    assert "\n".join(plain) + "\n" == writing.text(recipe)
    assert shelf.project.run("build", "tinycuda-1.0").code == 0


def test_what_nobody_says_is_left_empty_and_check_names_it(shelf: Shelf) -> None:
    shelf.wheel(metadata=METADATA.replace("Requires-Dist: torch>=2.8\n", ""))
    data = shelf.new()
    result = shelf.project.run("recipe", "check")
    assert result.code == 3
    for field in ("pin.repository", "pin.commit"):
        assert f"{field}: left empty; expected" in result.err
        assert any(one.startswith(f"{field}: left empty") for one in data["open"])
    assert 'commit = ""  # TODO: the commit of the release' in shelf.text()
    assert "torch" not in shelf.text()
    assert shelf.project.run("plan", "tinycuda-1.0").code == 3
    result = shelf.project.run("recipe", "list")
    assert result.code == 0, result
    assert result.out.startswith("tinycuda-1.0  open, nothing is built of it\n  pin.repository: left empty;")
    for code, *line in (
        (0, "matrix"), (2, "build", "--all"), (0, "recipe", "list", "--json"), (0, "patch", "check"),
    ):  # fmt: skip
        result = shelf.project.run(*map(str, line))
        assert result.code == code, result
        assert "note: tinycuda-1.0 is left out, 2 of its lines are open: 'retread recipe check" in result.err


def test_a_repository_that_cannot_be_reached_is_told(shelf: Shelf) -> None:
    shelf.wheel(
        metadata=METADATA.replace("Version: 1.0\n", f"Version: 1.0\nProject-URL: Source, {ADDRESS}.git\n")
    )
    data = shelf.new("--repository", f"file://{shelf.clone}/none")
    assert data["told"][-1].startswith("not confirmed: file://")
    assert "'retread recipe proof'" in data["told"][-1]


def test_an_archive_of_another_repository_is_not_confirmed(shelf: Shelf) -> None:
    shelf.files[SDIST] = make_sdist({"tinycuda-1.0/csrc/other.cu": b"int x;\n"})
    data = shelf.new("--repository", shelf.tagged())
    assert "holds no file of the archive" in data["told"][-1]
    assert data["commit"] == ""


def test_files_that_the_commit_lacks_want_a_reason(shelf: Shelf) -> None:
    shelf.files[SDIST] = make_sdist({**shelf.project.upstream.sdist, "tinycuda-1.0/made.txt": b"made\n"})
    data = shelf.new("--repository", shelf.tagged())
    assert data["open"] == ["sdist.unproven[1].reason: left empty; expected a text that is not empty"]
    assert 'paths = ["made.txt"]\nreason = ""  # TODO: why nobody has to prove them\n' in shelf.text()


def test_without_a_source_archive_it_says_what_remains(shelf: Shelf) -> None:
    del shelf.files[SDIST]
    data = shelf.new()
    assert data["sdist"] == ""
    assert [one["lane"] for one in data["lanes"]] == ["overlay"]
    assert "the wheel that is made says that its source is not proven" in data["notes"][0]
    assert data["open"] == []
    assert f'[source]\nwheel = "{WHEEL}"\n' in shelf.text()
    assert shelf.project.run("recipe", "check").code == 0
    assert shelf.project.run("build", "tinycuda-1.0").code == 0
    result = shelf.project.run("recipe", "bump", "tinycuda-1.0", "--to", "1.1")
    assert (result.code, "'retread recipe new tinycuda==VERSION'" in result.err) == (2, True), result


def test_without_a_source_archive_the_repository_s_commit_is_taken(shelf: Shelf) -> None:
    del shelf.files[SDIST]
    data = shelf.new("--repository", shelf.tagged())
    assert (data["commit"], data["open"]) == (shelf.project.upstream.commit, [])
    assert "git fetches it: there is no archive" in data["told"][-1]
    assert "[sdist]" not in shelf.text()
    assert [one for one in data["written"] if one.startswith("recipes/commits")] == []
    result = shelf.project.run("build", "tinycuda-1.0")
    assert result.code == 0, result


def test_with_a_source_archive_alone_everything_is_compiled(shelf: Shelf) -> None:
    del shelf.files[WHEEL]
    data = shelf.new()
    assert data["wheels"] == []
    assert [(one["target"], one["lane"]) for one in data["lanes"]] == [
        ("cu128", "source"),
        ("cu130", "source"),
    ]
    for target in ("cu128", "cu130"):
        assert f"targets.{target}.architectures[0]: left empty" in "\n".join(data["open"])


def test_another_spelling_is_the_same_project_and_the_recipe_is_not_overwritten(shelf: Shelf) -> None:
    data = shelf.new(release="TinyCUDA == 1.0.0")
    assert data["recipe"] == "tinycuda-1.0"
    shelf.refused(2, said=("recipes/tinycuda-1.0.toml is there already; nothing was written", "recipe bump"))


def test_every_python_pins_the_wheels_that_were_not_read_too(shelf: Shelf) -> None:
    other = WHEEL.replace("py3-none", "cp39-cp39")
    shelf.wheel(other)
    assert shelf.new()["wheels"] == [WHEEL]
    (shelf.project.root / RECIPE).unlink()
    assert shelf.new("--every-python")["wheels"] == sorted([WHEEL, other])


@pytest.mark.parametrize(
    ("release", "code", "said"),
    [
        ("tinycuda", 2, "does not name one version"),
        ("nobody==1.0", 7, "no index has anything of nobody"),
        ("tinycuda==1.1", 7, "the newest releases are 1.0"),
    ],
)
def test_what_is_no_release_is_refused(shelf: Shelf, release: str, code: int, said: str) -> None:
    shelf.refused(code, said=(said,), release=release)


def test_a_password_is_refused_and_not_shown(shelf: Shelf) -> None:
    shelf.refused(2, "--repository", "https://me:secret@host.invalid/x", said=("holds a user or a password",))


def test_what_was_yanked_is_refused(shelf: Shelf) -> None:
    files = [
        {
            "filename": name,
            "url": f"../../files/{name}",
            "hashes": {"sha256": sha256(data)},
            "yanked": "broken",
        }
        for name, data in shelf.files.items()
    ]
    page = {"meta": {"api-version": "1.0"}, "name": "tinycuda", "files": files}
    shelf.project.index.pages["tinycuda"] = json.dumps(page).encode()
    shelf.refused(7, said=("tinycuda 1.0 was yanked", "the newest releases are none"))


def test_a_wheel_that_is_not_what_the_page_says_is_refused(shelf: Shelf) -> None:
    shelf.project.index.wrong[WHEEL] = shelf.files[WHEEL][:-1]
    shelf.refused(7, said=(f"{WHEEL} is not what",))
    shelf.project.index.digests[SDIST] = ""
    shelf.refused(7, said=("states no sha256 of tinycuda-1.0.tar.gz",))


def test_without_gpu_code_there_is_no_recipe(shelf: Shelf) -> None:
    shelf.wheel(**{"tinycuda/_C.so": None})
    shelf.refused(6, said=(f"{WHEEL} holds no GPU code",))
    del shelf.files[WHEEL]
    shelf.files[SDIST] = make_sdist({"tinycuda-1.0/setup.py": b"\n"})
    shelf.refused(6, said=("the source archive holds no CUDA code",))
    shelf.files.clear()
    shelf.files[WHEEL.replace("manylinux_2_17_x86_64", "win_amd64")] = b"x"
    shelf.refused(7, said=("neither a source archive nor a wheel for this machine", "win_amd64"))


def test_an_index_that_does_not_answer_is_told(shelf: Shelf) -> None:
    shelf.project.index.status["/simple/tinycuda/"] = 503
    shelf.refused(7, said=("an index does not say what it has of tinycuda", "503"))
