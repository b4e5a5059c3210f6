"""Records with a field more, or with one that says something else: what a key has to notice, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from retread.arch import Arch
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.recipe.model import Base, Build, Container, Pin, Recipe, Sdist, Target
from retread.recipe.workspace import Loaded
from retread.records import Sha256

Some = TypeVar("Some", bound=msgspec.Struct)
DIGEST = Sha256(64 * "a")
BUILD = Build(python=">=3.10", requires=("build",), environment={"NAME": "{version}"})
CONTAINER = Container(image="example.org/i@sha256:0", platform="manylinux_2_28", pythons=("3.12",))
TARGET = Target(
    cuda="13.0", torch=">=2.11", revision=1, architectures=(Arch("9.0"),), ptx=(Arch("9.0"),), build=BUILD,
    base=(Base(file="demo-1.2-py3-none-any.whl", sha256=DIGEST),), container=CONTAINER, toolchain="cuda-13.0",
    generated=("demo/**.so",),
)  # fmt: skip
RECIPE = Recipe(
    name="demo-1.2", project="demo", version="1.2", summary="A demonstration",
    pin=Pin(repository="https://example.org/demo", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST), native_inputs=("csrc/**",), targets={"cu130": TARGET},
)  # fmt: skip


def grown(record: Some) -> Some:
    """Return a record of a type that has a field more."""
    kind = msgspec.defstruct(
        "Grown", [("more", str, "more")], bases=(type(record),), frozen=True, kw_only=True
    )
    return kind(**msgspec.structs.asdict(record))  # type: ignore[return-value]


def other(record: Some, field: str) -> Some:
    """Return a record of which one field says something else, whatever that is."""
    there: Any = getattr(record, field)
    said: Any = {**there, "other": "another"} if isinstance(there, dict) else "another"
    said = "1.3" if field == "version" else said
    said = msgspec.structs.replace(there, file="another") if field == "sdist" else said
    return msgspec.structs.replace(record, **{field: said})


def fields(record: msgspec.Struct) -> tuple[str, ...]:
    """Return the names of a record's fields."""
    return record.__struct_fields__


def loaded(recipe: Recipe = RECIPE, *, target: Target | None = None, build: Build | None = None) -> Loaded:
    """Return a recipe with nothing beside it, of which the target or its build may be another."""
    if build is not None:
        target = msgspec.structs.replace(TARGET, build=build)
    if target is not None:
        recipe = msgspec.structs.replace(recipe, targets={"cu130": target})
    return Loaded(Path("/nowhere"), recipe, (), {}, {}, {}, {"cu130": b"build==1.3"})


def machine(root: Path) -> Machine:
    """Return a machine whose store lies below ``root``."""
    return Machine(Store(root / "store"), Console(), {})
