"""What Python code uses of a project, read from its syntax tree, and what torch has for each. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from packaging.version import InvalidVersion

from retread import pypa
from retread.fit.catalogue import Call, Usage
from retread.fit.report import UsageReport, Used

_PLACES: Final = 20
"""Places of one call that are told; the rest is counted."""


def names(source: str, project: str) -> list[tuple[str, int]]:
    """Return (dotted name, line) of everything of a project that a module uses; SyntaxError when it is no Python."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    known = dict(_imported(nodes, project))
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    found: list[tuple[str, int]] = []
    used: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            chain = _chain(node)
            if chain and chain[0] in known:
                used.add(chain[0])
                found.append((".".join([known[chain[0]][0], *chain[1:]]), node.lineno))
            elif isinstance(node, ast.Attribute) and project in node.attr:
                found.append((node.attr, node.lineno))
    found += [(name, line) for alias, (name, line) in known.items() if alias not in used]
    return sorted(found, key=lambda one: one[1])


def _imported(nodes: Sequence[ast.AST], project: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield local name -> (full name, line) for what is imported of the project."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name.partition(".")[0] == project:
                    local, full = (one.asname, one.name) if one.asname else (project, project)
                    yield local, (full, node.lineno)
        elif (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").partition(".")[0] == project
        ):
            for one in node.names:
                yield one.asname or one.name, (f"{node.module}.{one.name}", node.lineno)


def _chain(node: ast.expr) -> list[str]:
    """Return the parts of a dotted name; none for an attribute of something else than a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def call(usage: Usage, name: str) -> Call | None:
    """Return the part of the interface that a dotted name belongs to; None for what nobody described."""
    parts = name.split(".")
    ranked = [(rank, index) for index, one in enumerate(usage.call) if (rank := _rank(one.name, parts))]
    return usage.call[max(ranked, key=lambda one: (one[0], -one[1]))[1]] if ranked else None


def _rank(described: str, parts: Sequence[str]) -> tuple[int, bool] | None:
    """Return how much of a name a description explains, and whether it names it exactly; None when nothing of it."""
    own = described.split(".")
    if list(parts[: len(own)]) == own:
        return len(own), True
    for index in range(len(parts) - 1, -1, -1):
        if (index or len(own) == 1) and fnmatchcase(parts[index], own[-1]) and own[-1] != own[0]:
            return index + 1, parts[index] == own[-1]
        if len(own) == 1 and parts[index] == own[0]:
            return index + 1, True
    return None


def report(
    usage: Usage, found: Mapping[str, Sequence[tuple[str, int]]], torch: str, *, unread: Sequence[str]
) -> UsageReport:
    """Return what files (path -> names) use of a project; ``torch`` is the installed version, or empty."""
    places: dict[str, list[str]] = {}
    calls: dict[str, Call] = {}
    for path, uses in found.items():
        for name, line in uses:
            one = call(usage, name)
            if one:
                shown = name if one.name == usage.project else one.name
                calls[shown] = one
                places.setdefault(shown, []).append(f"{path}:{line}")
    used = tuple(_used(name, calls[name], places[name], torch) for name in sorted(calls))
    return UsageReport(
        project=usage.project,
        files=len(found),
        unread=tuple(unread),
        used=used,
        says=_says(usage, used, torch),
    )


def _used(name: str, one: Call, places: Sequence[str], torch: str) -> Used:
    there = bool(one.instead) and _has(torch, one.torch)
    difference = one.difference
    if one.instead and not there:
        difference = f"torch {one.torch} has {one.instead}: {difference}"
    return Used(
        name=name,
        places=tuple(places[:_PLACES]),
        count=len(places),
        instead=one.instead if there else "",
        difference=difference,
    )


def _has(torch: str, allowed: str) -> bool:
    try:
        return not torch or pypa.specifiers(allowed).contains(pypa.version(torch).public, prereleases=True)
    except InvalidVersion:
        return False


def _says(usage: Usage, used: Sequence[Used], torch: str) -> str:
    here = f"torch {torch}" if torch else "torch"
    if not used:
        return f"{usage.project} is not needed: nothing of it is used in the files that were read"
    lacking = [one.name for one in used if not one.instead]
    if not lacking:
        return f"{usage.project} is not needed: {here} has a counterpart for all that is used of it"
    return f"{usage.project} is needed for {', '.join(lacking)}: {here} has no counterpart"
