"""A wheel that is made of another one alone: what it gets, what it says of itself, what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gpucode import RELOCATABLE, entry, fat
from retread.arch import Arch
from retread.build import alone, graft, reproduce
from retread.build.graft import Assembly
from retread.doors.console import Console
from retread.errors import AuditError, FatbinError, GateError, PlanError, RetreadError, StoreError, UsageError
from retread.evidence.gate import Policy
from retread.index import admission, candidate
from retread.prooflevel import ProofLevel
from retread.smoke import run
from retread.wheel import contents
from retread.wheel.metadata import parse_name
from tinycuda import DATA, INFO, LIBRARY, WHEEL, make_wheel, names, sha256, wheel_files

ADD, A8, A9, A10 = (DATA / "libadd.so").read_bytes(), Arch("8.0"), Arch("9.0a"), Arch("10.0")
RDC = ADD + fat(entry(RELOCATABLE))


def cubin(ptx: bytes, target: Arch, options: str, where: str) -> bytes:
    return (DATA / f"add.sm_{target.replace('.', '')}.cubin").read_bytes()


def other(ptx: bytes, target: Arch, options: str, where: str) -> bytes:
    """Assemble as another release does: not what the library holds."""
    return cubin(ptx, A10, options, where)


def made_by(assemble: Callable[..., bytes] = cubin, isa: tuple[int, int] = (8, 7)) -> graft.Tool:
    """Return a toolchain with this assembler, which has to be needed."""
    means = graft.alone(Assembly(isa, assemble, "ptxas 12.8, V12.8.93"))
    return graft.Tool("cuda-12.8", "12.8", lambda: means)


TOOL = made_by()
Give = Callable[..., alone.Given]


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def run(
        files: dict[str, bytes] | None = None,
        *architectures: Arch,
        tool: graft.Tool = TOOL,
        local: str | None = None,
        name: str = WHEEL,
    ) -> alone.Given:
        Path(name).write_bytes(make_wheel(files or wheel_files()))
        console = Console(stream=io.StringIO())
        return alone.give(
            Path(name), Path("out"), architectures or (A10,), tool, local=local, console=console
        )

    return run


def refused(give: Give, kind: type[RetreadError], words: str, *given: object, **more: object) -> RetreadError:
    """Return what is said where nothing is made, and nothing is left behind."""
    with pytest.raises(kind, match=words) as caught:
        give(*given, **more)
    assert [one for one in names(Path()) if not one.endswith(".whl")] == []
    return caught.value


def test_every_library_gets_the_code_and_the_wheel_says_of_what_it_was_made(
    give: Give, tmp_path: Path
) -> None:
    made = give()
    assert names(Path("out")) == [Path(made.path).name, Path(made.audit).name]
    assert Path(made.path).name == WHEEL.replace("1.0-", "1.0+cu128.1-")
    facts = contents.facts(Path(made.path), tmp_path)
    assert (facts.sha256, facts.version, made.grafted, made.left) == (
        made.sha256,
        "1.0+cu128.1",
        (LIBRARY,),
        {},
    )
    assert all(A10 in module.sass for module in facts.libraries[LIBRARY].modules)
    said = facts.statement
    assert said is not None
    assert said.base is not None
    assert (said.base.file, said.base.sha256) == (WHEEL, sha256(Path(WHEEL).read_bytes()))
    assert (said.commit, said.recipe, said.sdist) == ("", "", None)
    assert said.source is said.level is ProofLevel.WHEEL
    assert (said.toolchain.reproduced, said.promise.note) == (True, alone.NOTE)  # type: ignore[union-attr]
    assert json.loads(Path(made.audit).read_bytes())["ok"]
    assert made.notes == (alone.NOTE,)


def test_everything_else_is_the_same_and_twice_is_the_same(give: Give) -> None:
    first = Path(give().path).read_bytes()
    assert Path(give().path).read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as new:
        kept = {name: new.read(name) for name in new.namelist() if not name.startswith("tinycuda-")}
    old = {name: data for name, data in wheel_files().items() if not name.startswith("tinycuda-")}
    assert kept.pop(LIBRARY) != old.pop(LIBRARY)
    assert kept == old


def test_a_library_that_cannot_get_it_stays_and_is_named(give: Give, tmp_path: Path) -> None:
    made = give(wheel_files() | {"tinycuda/_rdc.so": RDC})
    assert list(made.left) == ["tinycuda/_rdc.so"]
    assert made.left["tinycuda/_rdc.so"].startswith("holds relocatable device code (-rdc=true)")
    facts = contents.facts(Path(made.path), tmp_path)
    assert A10 not in facts.libraries["tinycuda/_rdc.so"].modules[0].sass


def test_where_none_can_get_it_each_reason_is_told(give: Give) -> None:
    error = refused(give, FatbinError, "no library of .* can get 10.0", wheel_files() | {LIBRARY: RDC})
    assert [one.partition(" (")[0] for one in error.faults] == [f"{LIBRARY}: holds relocatable device code"]
    assert error.hint == "let the recipe exempt the library ('exempt'), or compile it: lane 'source'"


@pytest.mark.parametrize(
    ("files", "architectures", "words"),
    [
        (wheel_files(), (A8, A9), r"has 8\.0 9\.0a in all of its code already; there is nothing to graft"),
        (
            {name: data for name, data in wheel_files().items() if name != LIBRARY},
            (A10,),
            "holds no GPU code",
        ),
    ],
)
def test_nothing_to_graft(
    give: Give, files: dict[str, bytes], architectures: tuple[Arch, ...], words: str
) -> None:
    never = TOOL._replace(ready=lambda: pytest.fail("the assembler is fetched for nothing"))
    refused(give, PlanError, words, files, *architectures, tool=never)


def test_ptx_that_is_newer_than_the_assembler_is_told(give: Give) -> None:
    error = refused(give, FatbinError, "no library", None, A10, tool=made_by(isa=(8, 0)))
    assert "its PTX is ISA 8.7, the toolchain's reads up to 8.0" in error.faults[0]
    assert error.hint == "name a toolchain of the CUDA release that built the library"


def test_where_no_folder_can_be_is_told_before_anything_is_done(give: Give) -> None:
    never = TOOL._replace(ready=lambda: pytest.fail("work is done for nothing"))
    Path("out").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write out: a file is in the way"):
        give(tool=never)
    with pytest.raises(
        UsageError, match=r"--out: new\.whl is called like a wheel, and names the folder for it"
    ):
        alone.give(
            Path(WHEEL), Path("new.whl"), (A10,), never, local=None, console=Console(stream=io.StringIO())
        )
    assert names(Path()) == ["out", WHEEL]


def test_another_wheel_of_the_same_name_is_told(give: Give) -> None:
    told = "another wheel of this name was there, and was replaced"
    assert told not in give().notes
    assert told not in give().notes
    assert told in give(tool=made_by(other)).notes


def test_who_asks_for_its_recipe_hears_that_it_has_none(give: Give, tmp_path: Path) -> None:
    made, nothing = Path(give().path), cast("Any", None)

    def fresh(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    with pytest.raises(UsageError, match="was made of another wheel, without a recipe\n  next: name one"):
        run.subject(tmp_path, made, None, None, fresh("1"))
    with pytest.raises(
        UsageError, match=rf"without a recipe\n  next: 'retread graft' makes it again, of {WHEEL} "
    ):
        reproduce.reproduce(tmp_path, made, nothing, fresh("2"), wish=nothing)


def test_another_release_of_ptxas_is_told_and_recorded(give: Give) -> None:
    made = give(tool=made_by(other))
    assert made.notes[1] == (
        f"{LIBRARY}: CUDA 12.8 built it (the ELF header of its machine code); ptxas 12.8, V12.8.93 does not make its "
        "own machine code again from its PTX: the new code is as good as its ptxas, and not what the builder would give"
    )


def test_the_ptxas_that_built_the_wheel_proves_and_another_grafts(give: Give, tmp_path: Path) -> None:
    asked = []

    def provers(cuda: str) -> list[Assembly]:
        asked.append(cuda)
        return [Assembly((8, 7), cubin, "ptxas 12.6, V12.6.85")]

    means = graft.Means(Assembly((8, 7), other, "ptxas 12.8, V12.8.93"), provers)
    made = give(tool=graft.Tool("cuda-12.8", "12.8", lambda: means))
    assert asked == ["12.8"]
    assert "ptxas 12.6, V12.6.85 makes its own machine code again" in made.notes[1]
    facts = contents.facts(Path(made.path), tmp_path)
    said = facts.statement and facts.statement.toolchain
    assert said
    assert (said.reproduced, said.ptxas, said.proven_by) == (
        True,
        "ptxas 12.8, V12.8.93",
        "ptxas 12.6, V12.6.85",
    )


def test_a_rule_that_the_old_wheel_breaks_is_told_and_does_not_stop_it(give: Give) -> None:
    files = wheel_files() | {f"{INFO}/entry_points.txt": b"[console_scripts]\nx = not a reference\n"}
    made = give(files)
    assert [note for note in made.notes if "breaks a rule, too: entry points" in note]
    assert not json.loads(Path(made.audit).read_bytes())["ok"]


def test_one_that_only_the_new_wheel_breaks_stops_it(give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    seal = alone.seal.renew

    def spoilt(*given: object, statement: object, **more: object) -> Path:
        structs = alone.msgspec.structs
        wrong = structs.replace(statement.promise, version="9.9")  # type: ignore[attr-defined]
        said = structs.replace(statement, promise=wrong, version="1.0+cu128.1")  # type: ignore[type-var]
        return seal(*given, statement=structs.replace(said, project="other"), **more)  # type: ignore[arg-type]

    monkeypatch.setattr(alone.seal, "renew", spoilt)
    refused(give, AuditError, "does not hold")


def test_a_signature_does_not_outlive_it(give: Give) -> None:
    made = give(wheel_files() | {f"{INFO}/RECORD.jws": b"{}"})
    assert "RECORD.jws is gone: no signature outlives a change" in made.notes
    with zipfile.ZipFile(made.path) as opened:
        assert not [name for name in opened.namelist() if name.endswith(".jws")]


@pytest.mark.parametrize(
    ("old", "local", "new"),
    [
        ("demo-1.0-py3-none-any.whl", None, "demo-1.0+cu128.1-py3-none-any.whl"),
        ("demo-1.0-7-py3-none-any.whl", None, "demo-1.0+cu128.1-py3-none-any.whl"),
        ("demo-1.0+cu121-py3-none-any.whl", None, "demo-1.0+cu121.1-py3-none-any.whl"),
        ("demo-1.0+cu128.1-py3-none-any.whl", "cu128.2", "demo-1.0+cu128.2-py3-none-any.whl"),
        ("demo-1.0-py3-none-any.whl", "Ours_3", "demo-1.0+ours.3-py3-none-any.whl"),
    ],
)
def test_the_new_version_follows_the_old_one(old: str, local: str | None, new: str) -> None:
    assert alone.renamed(parse_name(old), "cu128", local).file_name == new


@pytest.mark.parametrize(
    ("old", "local", "words"),
    [
        ("demo-1.0-py3-none-any.whl", "a/b", "'a/b' is no local version"),
        ("demo-1.0-py3-none-any.whl", "", "'' is no local version"),
        ("demo-1.0+cu129.1-py3-none-any.whl", "cu128.2", r"1\.0\+cu128\.2 does not follow 1\.0\+cu129\.1"),
    ],
)
def test_a_version_that_no_installer_would_take_is_refused(old: str, local: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        alone.renamed(parse_name(old), "cu128", local)


def test_a_build_tag_goes_from_the_wheel_s_own_words_too(give: Give) -> None:
    name = WHEEL.replace("1.0-", "1.0-7-")
    files = wheel_files()
    files[f"{INFO}/WHEEL"] = files[f"{INFO}/WHEEL"].replace(b"Tag:", b"Build: 7\nTag:")
    made = give(files, name=name)
    with zipfile.ZipFile(made.path) as opened:
        assert "Build" not in opened.read("tinycuda-1.0+cu128.1.dist-info/WHEEL").decode()


def test_an_index_lists_it_only_as_unproven(give: Give, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    found = candidate.read(Path(give().path), tmp_path / "scratch")
    assert found.hosted.source is ProofLevel.WHEEL
    with pytest.raises(GateError) as caught:
        admission.demand(found, Policy((), ()))
    wanted = f"'{ProofLevel.REPOSITORY.words}' is demanded, and the wheel says: {ProofLevel.WHEEL.words}"
    assert wanted in caught.value.faults
