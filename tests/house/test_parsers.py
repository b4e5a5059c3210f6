"""One door to each parser of what others wrote: too long or too deep a text is refused there, by a typed error."""

from __future__ import annotations

import ast

import pytest

import house
from house import APART, is_in, modules

DOORS = {
    "json.loads": "strict", "json.load": "strict", "msgspec.json.decode": "strict", "msgspec.json.Decoder": "strict",
    "tomllib.loads": "strict", "tomllib.load": "strict",
    "packaging.version.Version": "pypa", "packaging.version.parse": "pypa",
    "packaging.specifiers.SpecifierSet": "pypa", "packaging.specifiers.Specifier": "pypa",
    "packaging.requirements.Requirement": "pypa", "packaging.markers.Marker": "pypa",
    "packaging.utils.parse_wheel_filename": "pypa", "packaging.utils.parse_sdist_filename": "pypa",
}  # fmt: skip
"""A parser -> the module that may call it."""


def around(module: str, tree: ast.AST) -> list[str]:
    """Return every use of a parser by another module than its door: a call, or a function to be called."""
    names = dict[str, str]()
    for node in house.nodes(tree):
        if isinstance(node, ast.Import):
            names |= {
                one.asname or one.name.partition(".")[0]: one.name.partition(".")[0] for one in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    found = []
    for node in house.nodes(tree):
        if isinstance(node, ast.Call):
            for used in (node.func, *node.args, *(one.value for one in node.keywords if one.arg == "key")):
                first, _, rest = ast.unparse(used).partition(".")
                full = f"{names.get(first, first)}.{rest}".strip(".")
                nothing = used is node.func and not node.args
                if full in DOORS and DOORS[full] != module and not nothing:
                    found.append(f"{module} goes around {DOORS[full]}: {ast.unparse(node)}")
    return found


def test_only_one_module_asks_for_the_date() -> None:
    asked = ("time.time()", "datetime.now", "datetime.utcnow", "date.today")
    told = {
        module
        for module, tree in modules().items()
        if not is_in(module, APART)
        for node in house.nodes(tree)
        if isinstance(node, ast.Call) and ast.unparse(node).startswith(asked)
    }
    assert told == {"doors.clock"}


def test_nothing_goes_around_the_doors_to_parsers() -> None:
    told = [
        fault
        for module, tree in modules().items()
        if not is_in(module, APART)
        for fault in around(module, tree)
    ]
    assert told == []


@pytest.mark.parametrize(
    "code",
    [
        "import json\njson.loads(text)",
        "import msgspec\nmsgspec.json.decode(data, type=int)",
        "from tomllib import loads as read\nread(text)",
        "from packaging.version import Version\nVersion(text)",
        "from packaging.version import Version\nsorted(texts, key=Version)",
        "from packaging.requirements import Requirement\nmap(Requirement, texts)",
    ],
)
def test_the_rule_itself_finds_what_it_should(code: str) -> None:
    assert len(around("wheel.metadata", ast.parse(code))) == 1
    assert (
        around("wheel.metadata", ast.parse("from packaging.specifiers import SpecifierSet\nSpecifierSet()"))
        == []
    )
