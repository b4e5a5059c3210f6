"""Records: frozen, strict, and the same after a way through JSON."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from retread import records
from retread.arch import Arch
from retread.audit import report as audit_report
from retread.audit.report import Check
from retread.build import pipeline
from retread.elf import facts as elf_facts
from retread.elf.facts import LibraryFacts, Module
from retread.lanes import container, source
from retread.recipe.model import Build, Container, Recipe, Target
from retread.recipe.toolchain import Part, Toolchain
from retread.records import Record
from retread.source import records as source_records
from retread.source import trees
from retread.toolkit import layout
from retread.wheel import facts as wheel_facts
from retread.wheel import statement as wheel_statement

MODULES = [records, elf_facts, wheel_facts, wheel_statement, audit_report, source_records]
RECORDS = [
    found
    for module in MODULES
    for _, found in inspect.getmembers(module, inspect.isclass)
    if issubclass(found, Record) and found is not Record
]


def test_every_record_is_frozen_strict_and_keyword_only() -> None:
    assert len(RECORDS) > 10
    for record in RECORDS:
        assert record.__struct_config__.frozen, record
        assert record.__struct_config__.forbid_unknown_fields, record
        with pytest.raises(TypeError, match="positional"):
            record(1)


def test_a_record_cannot_be_changed() -> None:
    check = Check(check="record", subject="x.whl", ok=True, detail="")
    with pytest.raises(AttributeError, match="immutable"):
        check.ok = False  # type: ignore[misc]


def test_facts_survive_json() -> None:
    facts = LibraryFacts(
        machine="x86_64",
        needed=("libc10.so",),
        run_path=(),
        versions=("GLIBC_2.17",),
        undefined=("cudaMalloc",),
        modules=(Module(index=0, sass=(Arch("9.0a"),), ptx=(Arch("8.0"),)),),
    )
    assert msgspec.json.decode(msgspec.json.encode(facts), type=LibraryFacts) == facts


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `more`"):
        msgspec.json.decode(b'{"check":"a","subject":"b","ok":true,"detail":"","more":1}', type=Check)


def test_all_but_keeps_what_nobody_excepted() -> None:
    check = Check(check="record", subject="x.whl", ok=True, detail="long")
    assert records.all_but(check, {"detail": "people read it"}) == {
        "check": "record",
        "subject": "x.whl",
        "ok": True,
        "waived": "",
    }


@pytest.mark.parametrize(
    ("record", "excepted"),
    [
        (Recipe, trees.NOT_OF_SOURCE),
        (Recipe, source.NOT_OF_RECIPE),
        (Target, source.NOT_OF_TARGET),
        (Build, source.NOT_OF_BUILD),
        (Container, container.NOT_OF_CONTAINER),
        (Recipe, pipeline.NOT_OF_WHEEL),
        (Target, pipeline.NOT_OF_TARGET),
        (Part, layout.NOT_OF_PIECE),
        (Toolchain, layout.NOT_OF_TOOLKIT),
    ],
)
def test_an_exception_is_a_field_that_is_there_and_has_a_reason(
    record: type[Record], excepted: dict[str, str]
) -> None:
    assert excepted.keys() <= set(record.__struct_fields__)
    assert all(excepted.values())
