"""Small real wheels with statement and signed evidence, and an index that they are published into."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from reports import case, on_gpu, report, run, surroundings
from retread.evidence import keyfiles, signing, statements
from retread.evidence.gate import Policy
from retread.evidence.names import ENVELOPE
from retread.evidence.signing import Key
from retread.index import actions
from retread.index.actions import Published, Session
from retread.index.admission import Terms
from retread.index.check import Checked, check
from retread.index.folder import Action
from retread.records import Sha256
from retread.smoke import reading
from retread.smoke.level import Level
from retread.wheel.statement import FileStatement, PatchStatement, Promise, Statement
from tinycuda import record, sha256, zip_bytes

NOW = 1_763_805_600
BASE = "https://wheels.example"
COMMIT = 40 * "c"
RECIPE = f"""
name = "demo-1"
project = "demo"
version = "1.2"
summary = "a tiny project"
native-inputs = ["setup.py"]
[pin]
repository = "https://example.org/demo"
commit = "{COMMIT}"
[sdist]
file = "demo-1.2.tar.gz"
sha256 = "{64 * "a"}"
[targets.cu128]
cuda = "12.8"
torch = ">=2.8"
revision = 1
architectures = ["8.0", "9.0a"]
ptx = []
[[targets.cu128.base]]
file = "demo-1.2-py3-none-any.whl"
sha256 = "{64 * "b"}"
[targets.cu128.smoke]
torch = "2.9.1"
triton = ["3.5.1"]
"""
"""The recipe of the wheels: what a gate asks of them."""


class Keys(NamedTuple):
    """Whose word counts in tests."""

    builder: Key
    tester: Key

    @property
    def policy(self) -> Policy:
        """The policy that names them."""
        return Policy((self.builder,), (self.tester,))


@cache
def make_keys(folder: Path) -> Keys:
    """Return a builder's and a tester's key."""
    return Keys(keyfiles.new(folder, "builder"), keyfiles.new(folder, "tester"))


def digest(text: str) -> Sha256:
    """Return the digest of a text, as a stand-in for that of a patch."""
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def statement(project: str, version: str, patches: tuple[str, ...], **changes: Any) -> Statement:
    """Return what a wheel says it was made of."""
    channel = version.partition("+")[2].partition(".")[0]
    promise = Promise(
        project=project, version=version, cuda=f"{channel[2:4]}.{channel[4:]}", torch=">=2.8",
        architectures=("8.0", "9.0a"), ptx=(), exempt=(), requires=(), run_path={}, note="",
    )  # fmt: skip
    series = tuple(
        PatchStatement(
            name=f"{one}.patch", sha256=digest(one), subject=f"Mend {one}", breaks="", affects="everyone",
            upstream="not reported", drop_when="never",
        )
        for one in patches
    )  # fmt: skip
    fields = {
        "schema": 1, "tool": "retread 0.1.0", "recipe": f"{project}-{version.partition('.')[0]}",
        "target": channel, "project": project,
        "version": version, "lane": "overlay", "repository": "https://example.org/demo", "commit": COMMIT,
        "submodules": (), "commit_time": NOW, "sdist": FileStatement(file="demo.tar.gz", sha256=digest("sdist")),
        "base": FileStatement(file="demo-1.2-py3-none-any.whl", sha256=digest("base")),
        "compiled": None, "series": series,
        "toolchain": None, "libraries": {}, "promise": promise,
    }  # fmt: skip
    return Statement(**{**fields, **changes})


def make_wheel(
    folder: Path,
    project: str = "demo",
    version: str = "1.2+cu128.1",
    *,
    patches: tuple[str, ...] = ("a",),
    tag: str = "py3-none-any",
    build: str = "",
    code: str = "",
    said: Callable[[Statement], Statement] | None = lambda one: one,
    told: Callable[[Statement], bytes] = msgspec.json.encode,
    changes: Mapping[str, bytes] = {},
    members: Mapping[str, bytes] = {},
) -> Path:
    """Write a small wheel and return its path; without ``said`` it has no statement, ``told`` puts it into bytes.

    ``members`` are more of its files; ``changes`` are made after RECORD was written.
    """
    stem = f"{project.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{project.replace('-', '_')}/__init__.py": f"VERSION = {version!r}\n{code}".encode(),
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Python: >=3.9\n\nTiny.\n"
        ).encode(),
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: {tag}\n"
            + (f"Build: {build}\n" if build else "")
        ).encode(),
    }
    files |= members
    if said:
        files[f"{info}/retread.json"] = told(said(statement(project, version, patches)))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    path.write_bytes(zip_bytes({**files, f"{info}/RECORD": record(files, info), **changes}))
    return path


def prove(
    wheel: Path,
    keys: Keys,
    *,
    levels: tuple[str, ...] = ("static", "jit"),
    failed: bool = False,
    signed: Callable[[Statement], Statement] = lambda one: one,
    inside: Sha256 | None = None,
) -> Path:
    """Put the evidence of a wheel beside it: reports, a builder's statement, test results; return the wheel.

    ``signed`` changes what the builder signs, and what the tester believes, of what the wheel says,
    ``inside`` the digest of ``retread.json`` that is signed.
    """
    bare = surroundings(torch="", triton="", packages={})
    cases = [case("demo/one"), case("demo/two")]
    around = {"static": bare, "jit": surroundings(), "gpu": on_gpu()}
    runs = [run(*cases, level=Level(one), surroundings=around[one]) for one in levels]
    project, version = wheel.name.split("-")[:2]
    data = statement_of(wheel)
    said = msgspec.json.decode(data, type=Statement) if data else statement(project, version, ("a",))
    said = signed(said)
    made = report(
        *runs, wheel=wheel.name, sha256=Sha256(sha256(wheel.read_bytes())), project=project, version=version,
        recipe=said.recipe, target=said.target,
    )  # fmt: skip
    made = reading.sealed(made, runs)
    wheel.with_name(f"{wheel.name}.smoke-{'-'.join(levels)}.json").write_bytes(reading.write(made))
    built = statements.provenance(
        wheel.name, made.sha256, said, inside or Sha256(sha256(data)), builder="builder", finished=NOW
    )
    _sign(wheel, "provenance", built, keys.builder)
    for one in made.runs:
        _sign(wheel, f"test-{one.level}", statements.test_result(made, one, tester="tester"), keys.tester)
    return wheel


def statement_of(wheel: Path) -> bytes:
    """Return a wheel's ``retread.json``, or nothing."""
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if name.endswith(".dist-info/retread.json")]
        return archive.read(found[0]) if found else b""


def _sign(wheel: Path, kind: str, payload: bytes, key: Key) -> None:
    envelope = signing.sign(payload, statements.PAYLOAD_TYPE, key)
    wheel.with_name(f"{wheel.name}.{kind}{ENVELOPE}").write_bytes(envelope)


class Shelf:
    """An index in a folder of its own, and a clock."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder = folder
        self.root = folder / "index"
        self.keys = keys
        self.now = NOW
        self.said: list[str] = []
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)

    def wheel(self, *arguments: Any, prove_it: bool = True, **changes: Any) -> Path:
        """Write a wheel, with its evidence."""
        made = make_wheel(self.folder / "dist", *arguments, **changes)
        return prove(made, self.keys) if prove_it else made

    def session(self, **changes: Any) -> Session:
        """Return a session a minute after the last one."""
        self.now += 60
        return Session(**{"root": self.root, "now": self.now, "say": self.said.append, **changes})

    def terms(self, **changes: Any) -> Terms:
        """Return the terms of the keys' policy."""
        return Terms(**{"policy": self.keys.policy, **changes})

    def publish(self, *wheels: Path, **changes: Any) -> Published:
        """Publish wheels, a minute after the last action; changes are of the session or of the terms."""
        mine = {name: value for name, value in changes.items() if name in Session._fields}
        terms = self.terms(**{name: value for name, value in changes.items() if name in Terms._fields})
        return actions.publish(self.session(**{"base": BASE, **mine}), wheels, terms, self.scratch)

    def act(self, function: Callable[..., Action], *arguments: Any, **changes: Any) -> Action:
        """Yank, remove or roll back, a minute after the last action."""
        return function(self.session(**changes), *arguments)

    def check(self, *policy: Policy | None) -> Checked:
        """Check every promise, under the keys' policy or the one that is given."""
        return check(self.root, self.scratch, *(policy or (self.keys.policy,)))

    def page(self, project: str = "demo", channel: str = "cu128") -> Any:
        """Return the JSON page of a project."""
        return json.loads((self.root / channel / "simple" / project / "index.json").read_bytes())

    def listed(self, project: str = "demo", channel: str = "cu128") -> list[str]:
        """Return the versions on a page."""
        return list(self.page(project, channel)["versions"])

    def tree(self) -> dict[str, str]:
        """Return every file and link below the index, with its content's digest or its target."""
        return tree(self.root)


def tree(root: Path) -> dict[str, str]:
    """Return every file and link below a folder, with its content's digest or its target."""
    found = {}
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            path = Path(folder) / name
            text = str(path.readlink()) if path.is_symlink() else sha256(path.read_bytes())
            found[str(path.relative_to(root))] = text
    return found
