"""A recipe as text, as retread writes it: keys in the order of the records, defaults left out. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from retread.recipe.model import Recipe

WIDTH: Final = 120
_BARE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


class Remarks(NamedTuple):
    """What a person reads beside the data; both map a key's path, as messages have it, to words on one line."""

    above: Mapping[str, str] = {}
    behind: Mapping[str, str] = {}


def text(recipe: Recipe, remarks: Remarks = Remarks(), *, schema: str = "") -> str:  # noqa: B008 - it is frozen
    """Return a recipe as TOML, which ``parse_recipe`` reads as the same; ``schema`` is what editors are pointed to.

    The record need not be sound: a field that is left open is written empty.
    """
    head = f"#:schema {schema}\n" if schema else ""
    return head + "\n\n".join("\n".join(lines) for lines in _tables(recipe, "", "", remarks)) + "\n"


def lines(key: str, value: object) -> list[str]:
    """Return a key with its value: a line, or one for each member of a long list."""
    return list(_line(key, value, "", Remarks()))


def _tables(record: msgspec.Struct, path: str, heading: str, remarks: Remarks) -> Iterator[list[str]]:
    """Yield the lines of a record's own keys, then those of the tables below it."""
    lines = [*_comment(remarks.above.get(path, "")), heading] if heading else []
    below: list[tuple[str, object]] = []
    for field in msgspec.structs.fields(type(record)):
        value, at = getattr(record, field.name), _join(path, field.encode_name)
        if not field.required and value == field.default and not _is_left_open(at, remarks):
            continue
        if _is_table(value):
            below += [(at, value)] if value else []
        elif field.required or value or field.default is None:
            lines += _line(field.encode_name, value, at, remarks)
    if len(lines) > bool(heading) or heading.startswith("[[") or (heading and not below):
        yield lines
    for at, value in below:
        yield from _below(value, at, remarks)


def _is_left_open(at: str, remarks: Remarks) -> bool:
    """Say whether a remark stands behind a key, or one of the table below it: then it is written, though empty."""
    return any(key == at or key.startswith(f"{at}.") for key in remarks.behind)


def _is_table(value: object) -> bool:
    first = value[0] if isinstance(value, tuple) and value else value
    return isinstance(first, msgspec.Struct | dict)


def _below(value: object, at: str, remarks: Remarks) -> Iterator[list[str]]:
    if isinstance(value, msgspec.Struct):
        yield from _tables(value, at, f"[{at}]", remarks)
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _tables(
                one, f"{at}[{index}]", f"[[{at}]]", _of_first(remarks, at) if not index else remarks
            )
    elif isinstance(value, dict) and any(isinstance(one, msgspec.Struct) for one in value.values()):
        for key, one in value.items():
            yield from _below(one, _join(at, key), remarks)
    elif isinstance(value, dict) and value:
        lines = [_line(key, one, _join(at, key), remarks) for key, one in value.items()]
        yield [*_comment(remarks.above.get(at, "")), f"[{at}]", *(line for some in lines for line in some)]


def _of_first(remarks: Remarks, at: str) -> Remarks:
    """Return remarks of which that of an array stands above its first table."""
    return (
        remarks._replace(above={f"{at}[0]": remarks.above[at], **remarks.above})
        if at in remarks.above
        else remarks
    )


def _line(key: str, value: object, at: str, remarks: Remarks) -> Iterator[str]:
    yield from _comment(remarks.above.get(at, ""))
    words = remarks.behind.get(at, "")
    written = f"{_key(key)} = {shown(value)}"
    if len(written) > WIDTH and isinstance(value, tuple):
        yield f"{_key(key)} = ["
        yield from (f"  {shown(one)}," for one in value)
        written = "]"
    yield f"{written}  # {_plain(words)}" if words else written


def _comment(words: str) -> list[str]:
    return textwrap.wrap(
        _plain(words),
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(words: str) -> str:
    """Return words of which no character ends the comment, or is not seen."""
    return " ".join("".join(char if char.isprintable() else " " for char in words).split())


def shown(value: object) -> str:
    """Return a value as it stands behind its key."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {shown(one)}" for key, one in value.items()) + " }"
    return str(value) if isinstance(value, int) else _quoted(str(value))


def _quoted(words: str) -> str:
    if '"' in words and "'" not in words and "\\" not in words and words.isprintable():
        return f"'{words}'"
    return f'"{"".join(map(_escaped, words))}"'


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _key(key: str) -> str:
    return key if key and set(key) <= _BARE else _quoted(key)


def _join(path: str, key: str) -> str:
    return f"{path}.{_key(key)}" if path else _key(key)
