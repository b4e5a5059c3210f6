"""What voids a compile: every field of what is compiled, but those that are excepted by name and with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fields import BUILD, DIGEST, RECIPE, TARGET, fields, grown, loaded, machine, other
from house import SOURCE
from retread.compile import stage
from retread.compile.schedule import Cost
from retread.doors import fs
from retread.doors import machine as machines
from retread.doors.machine import essence_digest
from retread.doors.store import Kind
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import CompileError
from retread.lanes import place, source
from retread.lanes.lane import Goal, Wish
from retread.lanes.place import HostPlace
from retread.lanes.source import Compiled
from retread.recipe.toolchain import Part, Toolchain
from retread.recipe.workspace import Loaded
from retread.source.records import PatchedTree
from retread.source.trees import Trees
from retread.toolkit.layout import Toolkit, parts_digest

HERE: dict[str, Any] = {
    "toolkit": Toolkit(Path("/kit"), "13.0", "nvcc 13.0", DIGEST, "pinned parts"),
    "toolkit_digest": DIGEST,
    "python": Python(executable="/p", prefix="/", version="3.12.1", number="3.12", digest=DIGEST),
    "compiler": Compiler(c="/c", cxx="/x", version="g++ 13", digest=DIGEST),
    "lock": b"build==1.3",
}


def made(found: Loaded, root: Path = Path("/nowhere"), **tools: Any) -> Compiled:
    goal = Goal(Trees(found, machine(root)), "cu130")
    build = goal.target.build
    assert build
    here = HostPlace(goal.machine, build, None)
    wheel = Compiled(goal, build, here, Wish())
    for one in (wheel, here):
        one.__dict__.update(HERE | tools)
    return wheel


def setting(found: Loaded, **tools: Any) -> str:
    return made(found, **tools).setting


def test_a_field_that_is_added_voids_what_was_compiled() -> None:
    settings = [
        setting(loaded()),
        setting(loaded(build=grown(BUILD))),
        setting(loaded(target=grown(TARGET))),
        setting(loaded(grown(RECIPE))),
    ]
    assert len(set(settings)) == 4


@pytest.mark.parametrize("field", fields(BUILD))
def test_a_build_s_field_decides_or_is_excepted(field: str) -> None:
    same = setting(loaded(build=other(BUILD, field))) == setting(loaded())
    assert same == (field in source.NOT_OF_BUILD)


@pytest.mark.parametrize("field", [one for one in fields(TARGET) if one != "build"])
def test_a_target_s_field_decides_or_is_excepted(field: str) -> None:
    same = setting(loaded(target=other(TARGET, field))) == setting(loaded())
    assert same == (field in source.NOT_OF_TARGET)


@pytest.mark.parametrize("field", fields(RECIPE))
def test_a_recipe_s_field_decides_or_is_excepted(field: str) -> None:
    same = setting(loaded(other(RECIPE, field))) == setting(loaded())
    assert same == (field in source.NOT_OF_RECIPE)


def test_a_tool_and_the_lock_decide() -> None:
    changed = [setting(loaded(), lock=b"build==1.4")]
    changed += [setting(loaded(), toolkit_digest="b")]
    changed += [setting(loaded(), **{one: other(HERE[one], "digest")}) for one in ("python", "compiler")]
    assert len({setting(loaded()), *changed}) == 5


def test_code_that_decides_a_compile_voids_it_and_prose_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "retread"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(machines, "__file__", str(copy / "doors" / "machine.py"))

    def after(path: str, old: str, new: str) -> str:
        essence_digest.cache_clear()
        text = (copy / path).read_text("utf-8")
        assert old in text
        (copy / path).write_text(text.replace(old, new, 1), "utf-8")
        return setting(loaded())

    first = after("compile/stage.py", '"""', '"""')
    assert after("compile/stage.py", '"""Stage', '"""The stage') == first
    assert after("compile/stage.py", "# What came out.", "# What came out of it.") == first
    assert after("compile/inside/enter.sh", "# Start", "# Begin with") == first
    assert after("compile/jobserver.py", "_LOW = 0.04", "_LOW = 0.05") == first
    assert after("compile/inside/container.sh", "set -euf", "set -eu") == first  # of another place
    environment = after("compile/stage.py", '"PYTHONHASHSEED": "0"', '"PYTHONHASHSEED": "1"')
    script = after("compile/inside/enter.sh", "mode=1777", "mode=777")
    assert (
        len({first, environment, script, after("compile/inside/trace.py", "import", "import io\nimport")})
        == 4
    )
    essence_digest.cache_clear()


# Which compile a base wheel is.


def compiled(root: Path, wheel: bytes, header: Path, **tools: Any) -> Compiled:
    """Return a wheel that is compiled by writing its bytes, from one header of this machine."""
    found = made(loaded(), root, **tools)

    def compile_it(into: Path) -> None:
        (into / "demo.whl").write_bytes(wheel)
        facts = stage.CompileFacts(
            schema=1, wheel="demo.whl", sha256=fs.sha256(into / "demo.whl"), native_digest="n", units=(), compiled=0,
            seconds=1, peak=1, jobs=1, network=False, fixed=True, cache=None, read=(),
            outside={str(header): fs.sha256(header)},
        )  # fmt: skip
        (into / stage.FACTS).write_bytes(msgspec.json.encode(facts))

    found.__dict__.update(compiled_key="c0", files={}, _compile=compile_it)
    root.mkdir(exist_ok=True)
    found.goal.trees.__dict__["patched"] = PatchedTree(root=root, changes=(), applied=())
    return found


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / "stdio.h"
    path.write_text("old")
    return path


def test_the_key_is_known_when_there_is_a_compile_that_is_still_true(tmp_path: Path, header: Path) -> None:
    first = compiled(tmp_path, b"one", header)
    assert not first.known()
    key = first.key
    assert first.known()
    again = compiled(tmp_path, b"two", header)
    assert again.known()
    assert again.key == key  # nothing is compiled again
    header.write_text("new")
    stale = compiled(tmp_path, b"one", header)
    assert not stale.known()
    assert stale.key != key
    assert stale.known()


def test_a_compile_that_is_made_again_to_other_bytes_has_another_key(tmp_path: Path, header: Path) -> None:
    first = compiled(tmp_path, b"one", header)
    key = first.key
    first.goal.machine.store.discard(Kind.COMPILED, "c0")
    assert compiled(tmp_path, b"two", header).key != key
    first.goal.machine.store.discard(Kind.COMPILED, "c0")
    assert compiled(tmp_path, b"one", header).key == key


def test_the_image_that_a_wheel_states_is_in_the_key(tmp_path: Path, header: Path) -> None:
    """Of the toolkit the key of the compile has the digest, and its version and origin are told by that."""
    named = compiled(tmp_path, b"one", header)
    named.place.__dict__["image"] = "many abc"
    assert named.key != compiled(tmp_path, b"one", header).key


def test_a_toolkit_of_pinned_parts_is_not_had_to_know_its_digest(tmp_path: Path) -> None:
    found = made(loaded(), tmp_path)
    del found.__dict__["toolkit"], found.__dict__["toolkit_digest"]
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(source, "toolkit", lambda *_: HERE["toolkit"]._replace(digest="the system's"))
        part = Part(
            component="nvcc", machine=host.here(), package="nvcc", file="n", sha256=DIGEST, folder="n"
        )
        digests = []
        for one in (part, msgspec.structs.replace(part, package="", path="nvcc.tar.xz")):
            kit = Toolchain(name="cuda-13.0", cuda="13.0", ptx_isa="9.0", part=(one,))
            patching.setattr(Compiled, "_toolchain", kit)
            digests.append(found.toolkit_digest)
            del found.__dict__["toolkit_digest"]
    assert digests == [parts_digest(kit, (part,)), "the system's"]


def test_a_changed_header_is_a_compile_to_do_in_the_plan(tmp_path: Path, header: Path) -> None:
    def steps() -> list[tuple[str, bool, str]]:
        found = compiled(tmp_path, b"one", header)
        found.goal.trees.__dict__["patched_key"] = "c0"
        found.__dict__["native_digest"] = "n"
        found.goal.machine.store.make(Kind.PATCHED, "c0", lambda into: None)
        told = found.steps()
        return [(one.stage, one.cached, one.reason) for one in (told.before[-1], told.base)]

    stored = HERE["toolkit"]
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(source, "stored_toolkit", lambda machine, toolchain, platform: stored)
        patching.setattr(Compiled, "_toolchain", SimpleNamespace(name="cuda-13.0"))
        key = compiled(tmp_path, b"one", header).key
        compiled(tmp_path, b"one", header).goal.machine.store.make(Kind.BASES, key, lambda into: None)
        assert [cached for _, cached, _ in steps()] == [True, True]
        header.write_text("new")
        assert [cached for _, cached, _ in steps()] == [False, False]
        assert steps()[0][2] == "headers of this machine changed"


def test_what_a_compile_takes_is_known_from_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "stored_toolkit", lambda machine, toolchain, platform: None)
    monkeypatch.setattr(Compiled, "_toolchain", SimpleNamespace(name="cuda-13.0"))
    found = made(loaded(), tmp_path)
    found.wish = Wish(jobs=2)
    before = found.effort()
    assert (before.seconds, before.memory) == (None, None)
    costs = {"a.cu": (100.0, 3), "b.cu": (60.0, 5), "c.cu": (40.0, 1)}
    found.measures.learn(
        {name: Cost(seconds=spent, memory=held << 30) for name, (spent, held) in costs.items()}, cached=False
    )
    after = found.effort()
    assert (after.seconds, after.memory) == (100.0, 8 << 30), "two at a time"
    monkeypatch.setattr(source, "stored_toolkit", lambda machine, toolchain, platform: HERE["toolkit"])
    assert found.effort().disk < after.disk == before.disk


def test_a_machine_says_all_that_it_lacks_for_a_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CompileError("there is no C++ compiler", hint="install g++")

    monkeypatch.setattr(source, "obstacles", lambda machine, toolchain, platform: ["nvcc: no connection"])
    monkeypatch.setattr(source.proc, "find", lambda program, why: Path(program))
    monkeypatch.setattr(Compiled, "_toolchain", SimpleNamespace(name="cuda-13.0"))
    monkeypatch.setattr(place.host, "compiler", refuse)
    monkeypatch.setattr(place.host, "python", refuse)
    found = made(loaded(), tmp_path)
    assert found.lacks() == ("cuda-13.0: nvcc: no connection",)
    for one in ("compiler", "python"):
        del found.place.__dict__[one]
    assert found.lacks() == (*["there is no C++ compiler; install g++"] * 2, "cuda-13.0: nvcc: no connection")
    assert found.python == found.build.python, "the recipe's range, where no Python was found"
