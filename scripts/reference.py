"""Write docs/reference/ from the code: commands, keys of recipes and toolchains, exit codes, limits.

``make docs-reference`` runs this; a test holds the committed pages to what it would write.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.inspect import DictType, Field, Metadata, StructType, Type, UnionType, VarTupleType, type_info

import compatibility
from retread import errors, limits

ROOT = Path(__file__).resolve().parents[1]
HEAD = (
    "<!-- Written by scripts/reference.py from the code: change it there, then 'make docs-reference'. -->\n"
)
OFTEN = 10
"""An option that as many commands have is described once."""


def found(*places: str) -> Any:
    """Return the first of these objects (``module:name``) that is there."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"none of these is there: {', '.join(places)}")


PARSER = found("retread.cli.main:parser", "retread.cli:parser")
RECIPE = found("retread.recipe.model:Recipe", "retread.recipe:Recipe")
TOOLCHAIN = found("retread.recipe.toolchain:Toolchain", "retread.recipe:Toolchain")


def pages() -> dict[str, str]:
    """Return the text of every page, by its name below docs/reference/."""
    return {
        "compatibility.md": HEAD + compatibility.page(),
        "commands.md": HEAD + commands(PARSER()),
        "exit-codes.md": HEAD + exit_codes(),
        "limits.md": HEAD + limits_page(),
        "recipe.md": HEAD
        + tables(RECIPE, "A recipe", "recipes/NAME.toml", "[Recipes](../guides/recipes.md)"),
        "toolchain.md": HEAD
        + tables(
            TOOLCHAIN, "A toolchain", "recipes/toolchains/NAME.toml", "[Toolchains](../guides/toolchains.md)"
        ),
    }


def cell(text: str) -> str:
    """Return a text as one cell of a table."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def paragraph(*sentences: str) -> str:
    """Return prose in lines of at most 118 columns."""
    return textwrap.fill(" ".join(sentences), 118, break_long_words=False, break_on_hyphens=False) + "\n"


def sentence(text: str) -> str:
    """Return a help text as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown; a column in which no row has anything is left out."""
    kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
    lines = [head, ("---",) * len(head), *(tuple(map(cell, row)) for row in rows)]
    return "".join(f"| {' | '.join(line[at] for at in kept)} |\n" for line in lines)


# The commands


class Command(NamedTuple):
    """A command that does something: its words, what it is for, and its parser."""

    words: str
    help: str
    parser: argparse.ArgumentParser
    groups: bool
    """Whether it has commands below it."""


def every(parser: argparse.ArgumentParser, words: str = "retread") -> Iterator[Command]:
    """Yield all commands below a parser, in its order."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                has = any(isinstance(one, argparse._SubParsersAction) for one in below._actions)
                yield Command(f"{words} {name}", helps.get(name, ""), below, has)
                yield from every(below, f"{words} {name}")


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what a command takes, ``--help`` left out."""
    dull = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, dull)]


def value(action: argparse.Action) -> str:
    """Return how an argument's value is written: ``FILE``, ``[NAME ...]``, nothing for a switch."""
    if action.nargs == 0:
        return ""
    choices = "|".join(map(str, action.choices)) if action.choices else ""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    name = choices or metavar or action.dest.replace("_", "-").upper()
    shapes = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
    return shapes.get(str(action.nargs), name)


def row(action: argparse.Action) -> tuple[str, str]:
    """Return an argument's cells: how it is written, what it means."""
    written = " ".join(filter(None, (", ".join(action.option_strings), value(action))))
    words = sentence((action.help or "") % vars(action))
    if action.option_strings and action.required:
        words = f"Required. {words}".strip()
    return f"`{written}`", words


def usage(command: Command) -> str:
    """Return the command's line: positional arguments and what is required."""
    words = [command.words]
    for action in arguments(command.parser):
        if not action.option_strings:
            words.append(value(action))
        elif action.required:
            words.append(f"{action.option_strings[-1]} {value(action)}")
    return " ".join([*words, "[options]"])


def commands(top: argparse.ArgumentParser) -> str:
    """Return the page of all commands."""
    found_commands = list(every(top))
    seen: dict[tuple[str, str], int] = {}
    for command in found_commands:
        for action in arguments(command.parser):
            if action.option_strings:
                seen[row(action)] = seen.get(row(action), 0) + 1
    often = {one for one, count in seen.items() if count >= OFTEN}
    parts = [
        "# Commands\n",
        paragraph(sentence(top.description or "")),
        paragraph(
            "`retread COMMAND --help` says the same on the terminal. Data goes to stdout, talk to stderr.",
            "What ends with which number: [exit codes](exit-codes.md).",
            "What `--json` prints: [schemas](../schemas/README.md).",
            "Where a file or a folder is to be written, the folders that are missing above it are made.",
        ),
        "## Options\n",
        "Of `retread` itself:\n",
        table(("option", "meaning"), [row(action) for action in arguments(top)]),
        "Of most commands, after the command, where they are not named again:\n",
        table(("option", "meaning"), [one for one in seen if one in often]),
    ]
    for command in found_commands:
        level = "#" * (len(command.words.split()))
        parts.append(f"{level} {command.words.removeprefix('retread ')}\n")
        parts.append(paragraph(sentence(command.help or command.parser.description or "")))
        rows = [row(action) for action in arguments(command.parser)]
        if command.groups and not rows:
            continue
        parts.append(f"```\n{usage(command)}\n```\n")
        common = [one.partition(" ")[0].strip("`,") for one, words in rows if (one, words) in often]
        own = [one for one in rows if one not in often]
        if own:
            parts.append(table(("argument", "meaning"), own))
        if common:
            parts.append(f"Also {', '.join(f'`{one}`' for one in common)}.\n")
    return "\n".join(parts)


# Recipes and toolchains


class Section(NamedTuple):
    """A table of a TOML file: its header, and the record that reads it."""

    header: str
    record: StructType


def bare(kind: Type) -> Type:
    """Return a type without what is noted on it; of an optional type, the other one."""
    if isinstance(kind, Metadata):
        return bare(kind.type)
    if isinstance(kind, UnionType):
        return next(bare(one) for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
    return kind


def below(path: str, field: Field) -> Section | None:
    """Return the table that a field is, or None when it is a plain value."""
    kind = bare(field.type)
    name = ".".join(filter(None, (path, field.encode_name)))
    if isinstance(kind, StructType):
        return Section(f"[{name}]", kind)
    if isinstance(kind, VarTupleType) and isinstance(bare(kind.item_type), StructType):
        return Section(f"[[{name}]]", bare(kind.item_type))
    if isinstance(kind, DictType) and isinstance(bare(kind.value_type), StructType):
        return Section(f"[{name}.NAME]", bare(kind.value_type))
    return None


def sections(header: str, record: StructType) -> Iterator[Section]:
    """Yield a table and all below it."""
    yield Section(header, record)
    for field in record.fields:
        if section := below(header.strip("[]"), field):
            yield from sections(section.header, section.record)


def words_of(kind: Type, many: bool = False) -> str:
    """Return what a value has to be, in words."""
    if isinstance(kind, Metadata):
        note = (kind.extra_json_schema or {}).get("description", "") or words_of(kind.type)
        return note.replace("a text that is not empty", "text")
    kind = bare(kind)
    if isinstance(kind, VarTupleType):
        item = words_of(kind.item_type)
        return f"list of: {item}" if item != "text" else "list of texts"
    if isinstance(kind, DictType):
        item = words_of(kind.value_type)
        return f"table: name = {item}"
    names = {"StrType": "text", "IntType": "integer", "BoolType": "true or false", "FloatType": "number"}
    return names.get(type(kind).__name__, "")


def notes(record: type) -> dict[str, str]:
    """Return the text below each field of a record's class, as its source has it."""
    tree = ast.parse(inspect.getsource(sys.modules[record.__module__]))
    body = next(
        one.body for one in tree.body if isinstance(one, ast.ClassDef) and one.name == record.__name__
    )
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def tables(record: type, title: str, file: str, guide: str) -> str:
    """Return the page of a file's keys: one section for each of its tables."""
    parts = [
        f"# {title}\n",
        paragraph(
            f"Every key of `{file}`. A key that is not here is refused, and so is a value of another kind;",
            "all faults of a file are told at once, each with its key path.",
            f"How to write one: {guide}.",
        ),
    ]
    for header, kind in sections("", type_info(record)):
        text = notes(kind.cls)
        parts.append(f"## `{header}`\n" if header else "## The file itself\n")
        parts.append((inspect.getdoc(kind.cls) or "").replace("``", "`") + "\n")
        rows = []
        for field in kind.fields:
            section = below(header.strip("[]"), field)
            what = f"[`{section.header}`](#{anchor(section.header)})" if section else words_of(field.type)
            rows.append(
                (f"`{field.encode_name}`", what, "yes" if field.required else "", text.get(field.name, ""))
            )
        parts.append(table(("key", "value", "needed", "meaning"), rows))
    return "\n".join(parts)


def anchor(header: str) -> str:
    """Return the name of a section in a link, as a repository's page makes it."""
    return re.sub(r"[^\w\- ]", "", header.lower()).replace(" ", "-")


# Exit codes


def exit_codes() -> str:
    """Return the page of exit codes."""
    refusals = [
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.RetreadError) and one is not errors.RetreadError
    ]
    rows = [("0", "", "Done."), ("1", "", "A bug in retread: please report it.")]
    rows += [
        (str(one.exit_code), one.kind, (inspect.getdoc(one) or "").splitlines()[0])
        for one in sorted(refusals, key=lambda one: one.exit_code)
    ]
    rows.append(("130", "", "Interrupted: by a key, SIGTERM, or SIGHUP of a terminal that goes away."))
    return "\n".join(
        [
            "# Exit codes\n",
            paragraph(
                "Every command ends with one of these; a script may rely on them. A refusal is one message on stderr:",
                "what is wrong, where, and what to do next.",
                "A kit (`python3 kit.pyz`) ends with 0, 16, 17 or 18.",
            ),
            table(("code", "kind", "meaning"), rows),
        ]
    )


# Limits


def limits_page() -> str:
    """Return the page of limits: a table for each part of the module."""
    parts = [
        "# Limits\n",
        paragraph(
            "How much of an input is taken. Wheels, indexes, lock files, libraries and reports come from others; what",
            "is beyond one of these numbers is refused, with a message that names it, before any work grows with it.",
            "Nothing of this can be set: each stands far above what is real. They are one module, `retread.limits`.",
        ),
    ]
    for title, rows in limits_of(inspect.getsource(limits)):
        parts += [f"## {title}\n", table(("limit", "taken", "of what, and why"), rows)]
    return "\n".join(parts)


def limits_of(source: str) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the title of each part of the module, a comment, and its rows: name, number, reason."""
    numbered = {node.lineno: node for node in ast.parse(source).body}
    title, rows = "", list[tuple[str, ...]]()
    for number, line in enumerate(source.splitlines(), start=1):
        if line.startswith("# "):
            if rows:
                yield title, rows
            title, rows = line.removeprefix("# "), []
        node = numbered.get(number)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rows.append((f"`{node.target.id}`", quantity(getattr(limits, node.target.id), node.value)))
        elif isinstance(node, ast.Expr) and rows:
            rows[-1] += (ast.literal_eval(node.value),)
    yield title, rows


def quantity(value: float, written: ast.expr | None) -> str:
    """Return a limit as its source writes it: a shift is a number of KiB, MiB or GiB."""
    if isinstance(written, ast.BinOp) and isinstance(written.right, ast.Constant):
        unit = {10: "KiB", 20: "MiB", 30: "GiB"}[written.right.value]
        return f"{ast.unparse(written.left)} {unit}"
    return f"{value:,.0f} s" if isinstance(value, float) else f"{value:,}"


def main() -> None:
    """Write the pages and say which changed."""
    folder = ROOT / "docs" / "reference"
    for name, text in pages().items():
        place = folder / name
        if not place.is_file() or place.read_text() != text:
            place.write_text(text)
            print(f"written: {place.relative_to(ROOT)}")
    readme = ROOT / "README.md"
    if readme.read_text("utf-8") != compatibility.readme():
        readme.write_text(compatibility.readme(), "utf-8")
        print("written: README.md")


if __name__ == "__main__":
    main()
