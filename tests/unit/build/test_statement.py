"""What a wheel says of itself: of an official base wheel, or of a compile, and never of both."""

from __future__ import annotations

import msgspec
import pytest

import older
from retread.arch import Arch
from retread.audit.promise import promise
from retread.build import statement
from retread.evidence import agreement
from retread.prooflevel import ProofLevel
from retread.recipe.model import (
    NO_PIN,
    NO_SDIST,
    Base,
    Exemption,
    Pin,
    Recipe,
    Sdist,
    Source,
    Submodule,
    Target,
)
from retread.recipe.series import Patch
from retread.recipe.trial import Trial
from retread.records import Sha256
from retread.source.records import Manifest
from retread.wheel.statement import CompileStatement, FileStatement, Proof, Statement

DIGEST = Sha256(64 * "a")
RECIPE = Recipe(
    name="demo-1.2",
    project="Demo",
    version="1.2",
    summary="A demonstration",
    pin=Pin(repository="https://example.org/demo", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST),
    native_inputs=("setup.py",),
    targets={
        "cu130": Target(
            cuda="13.0", torch=">=2.11", revision=1, architectures=(Arch("8.0"),), ptx=(),
            base=(Base(file="demo-1.2-py3-none-any.whl", sha256=DIGEST),),
        )
    },
)  # fmt: skip
OFFICIAL = FileStatement(file="demo-1.2-py3-none-any.whl", sha256=DIGEST)
COMPILED = CompileStatement(
    native_digest="n",
    toolkit="nvcc 13.0, V13.0.88",
    toolkit_digest="t",
    toolkit_origin="pinned parts",
    compiler="g++ 13.2",
    python="3.12.1",
    lock="l",
    requires=("torch==2.11.0",),
    environment={"LIST": "{torch-architectures}"},
)
MANIFEST = Manifest(commit=40 * "0", time=7, files={}, unproven=())


def said(base: FileStatement | CompileStatement, lane: str) -> Statement:
    return statement.statement(
        RECIPE,
        "cu130",
        base,
        (),
        version="1.2+cu130.1",
        lane=lane,
        manifest=MANIFEST,
        toolchain=None,
        libraries={},
    )


@pytest.mark.parametrize(("base", "lane"), [(OFFICIAL, "overlay"), (COMPILED, "source")])
def test_one_origin_is_told_and_the_other_is_not(base: FileStatement | CompileStatement, lane: str) -> None:
    found = said(base, lane)
    assert (found.base, found.compiled) == ((base, None) if lane == "overlay" else (None, base))
    assert (found.lane, found.version, found.promise.project) == (lane, "1.2+cu130.1", "demo")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Statement) == found


def test_it_tells_by_what_the_wheel_has_to_be_proven() -> None:
    assert said(OFFICIAL, "overlay").promise.proof == Proof(gpu=(), triton=())
    trial = Trial(torch="2.11.0", triton=("3.6.0", "3.7.1"), gpu=(Arch("9.0"),))
    target = msgspec.structs.replace(RECIPE.targets["cu130"], smoke=trial)
    assert promise(RECIPE, target, "1.2+cu130.1").proof == Proof(
        gpu=(Arch("9.0"),), triton=("3.6.0", "3.7.1")
    )


def test_what_the_recipe_and_the_series_say_is_told_as_they_say_it() -> None:
    part = Submodule(path="third/part", repository="https://example.org/part", commit=40 * "1")
    exempt = Exemption(library="demo/_C.so", architectures=(Arch("9.0a"),), reason="only Hopper has it")
    target = msgspec.structs.replace(RECIPE.targets["cu130"], exempt=(exempt,))
    pin = msgspec.structs.replace(RECIPE.pin, submodules=(part,))
    patch = Patch(
        name="0001-mend.patch", sha256=DIGEST, subject="Mend", breaks="b", affects="a", upstream="u", drop_when="d",
        changes=(), crlf=True,
    )  # fmt: skip
    found = statement.statement(
        msgspec.structs.replace(RECIPE, pin=pin, targets={"cu130": target}), "cu130", OFFICIAL, [patch],
        version="1.2+cu130.1", lane="overlay", manifest=MANIFEST, toolchain=None, libraries={},
    )  # fmt: skip
    assert [msgspec.to_builtins(one) for one in (*found.submodules, *found.promise.exempt, *found.series)] == [
        {"path": "third/part", "repository": "https://example.org/part", "commit": 40 * "1"},
        {"library": "demo/_C.so", "architectures": ("9.0a",), "ptx": (), "reason": "only Hopper has it"},
        {
            "name": "0001-mend.patch", "sha256": DIGEST, "subject": "Mend", "breaks": "b", "affects": "a",
            "upstream": "u", "drop_when": "d",
        },
    ]  # fmt: skip
    assert found.sdist == FileStatement(file="demo-1.2.tar.gz", sha256=DIGEST)


def test_a_statement_from_before_that_is_read() -> None:
    found = msgspec.json.decode(older.written(said(OFFICIAL, "overlay")), type=Statement)
    assert found.promise.proof is None


def test_what_is_not_proven_whole_says_so_and_what_is_says_nothing_more() -> None:
    def told(recipe: Recipe, packed: str = "") -> Statement:
        manifest = msgspec.structs.replace(MANIFEST, packed=Sha256(packed))
        return statement.statement(
            recipe, "cu130", OFFICIAL, (), version="1.2+cu130.1", lane="overlay", manifest=manifest, toolchain=None,
            libraries={},
        )  # fmt: skip

    proven = told(RECIPE)
    assert (proven.level, {"source", "packed"} & msgspec.to_builtins(proven).keys()) == (
        ProofLevel.PROVEN,
        set(),
    )
    fetched = told(msgspec.structs.replace(RECIPE, sdist=NO_SDIST), DIGEST)
    assert fetched.source is fetched.level is ProofLevel.REPOSITORY
    assert fetched.packed == FileStatement(file=f"Demo-1.2-{12 * '0'}.tar", sha256=DIGEST)
    wheel = Source(wheel="demo-1.2-py3-none-any.whl", sha256=DIGEST)
    alone = told(msgspec.structs.replace(RECIPE, pin=NO_PIN, sdist=NO_SDIST, source=wheel))
    assert alone.source is alone.level is ProofLevel.WHEEL
    assert (alone.commit, alone.sdist, alone.packed) == ("", None, None)


@pytest.mark.parametrize("level", [ProofLevel.REPOSITORY, ProofLevel.WHEEL])
def test_a_level_that_is_not_what_a_statement_names_is_told(level: ProofLevel) -> None:
    one = msgspec.structs.replace(said(OFFICIAL, "overlay"), source=level)
    (fault,) = agreement.faults(agreement.of_statement(one, DIGEST))
    assert fault == (
        "proof level: retread.json, by the commit and the archive that it names, says source proven, "
        f"retread.json says {level.words}"
    )
