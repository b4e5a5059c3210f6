"""Strict reading of TOML and JSON into records: every fault at once, each with its key path and the near miss.

msgspec checks a value and stops at the first fault; a maintainer wants the whole list. So this module walks the
records' own fields and leaves only the leaves to msgspec.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec

from retread import limits
from retread.errors import RecipeError

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")
_EMPTY: Final = "left empty; "
_WIDE: Final = 1 << 63
_PART: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?)"""
_TEXT: Final = r""""{3}(?:[^"\\]|\\.|"(?!""))*+(?:"{3,5})?|'{3}(?:[^']|'(?!''))*+(?:'{3,5})?|#[^\n]*+"""
_KEY: Final = re.compile(rf"{_TEXT}|({_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+)", re.DOTALL)
"""Texts and comments of TOML, to be passed over, and keys with all their parts; each step takes what it looked at."""
_PARTS: Final = re.compile(_PART, re.DOTALL)


_WORDS: Final = {
    "str": "a string", "int": "an integer", "float": "a float", "bool": "a boolean", "array": "an array",
    "object": "a table", "null": "nothing",
}  # fmt: skip
"""What msgspec calls a value -> what people call it."""
_WORD: Final = re.compile("`([a-z]+(?: [|] [a-z]+)*)`")


def near_miss(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or nothing."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def read(record: type[R], data: object) -> tuple[R | None, list[str]]:
    """Return ``data`` as a ``record`` and no faults, or None and every fault as ``key.path: what is wrong``."""
    faults: list[str] = []
    _check(record, data, "", faults)
    return (None, faults) if faults else (msgspec.convert(data, record, strict=True), [])


def is_open(fault: str) -> bool:
    """Say whether a fault is a field that nobody has filled in yet."""
    return f": {_EMPTY}" in fault


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a record; the same under every Python, which differ in how they indent docstrings."""
    unwrapped: dict[str, Any] = _unwrapped(msgspec.json.schema(kind))
    return unwrapped


def _unwrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: " ".join(item.split())
            if key == "description" and isinstance(item, str)
            else _unwrapped(item)
            for key, item in value.items()
        }
    return [_unwrapped(item) for item in value] if isinstance(value, list) else value


def _check(kind: Any, data: Any, path: str, faults: list[str]) -> None:
    origin = get_origin(kind)
    if origin is UnionType and data is not None:
        kinds = [one for one in get_args(kind) if one is not NoneType]
        kind = kinds[0] if len(kinds) == 1 else next(filter(_is_record, kinds), kind)
        origin = get_origin(kind)
    if _is_record(kind):
        _check_record(kind, data, path, faults)
    elif origin is dict and isinstance(data, Mapping):
        for key, value in data.items():
            _check(get_args(kind)[1], value, _join(path, key), faults)
    elif origin is tuple and isinstance(data, list | tuple):
        for index, value in enumerate(data):
            _check(get_args(kind)[0], value, f"{path}[{index}]", faults)
    else:
        _check_leaf(kind, data, path, faults)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _check_record(record: type[msgspec.Struct], data: Any, path: str, faults: list[str]) -> None:
    if not isinstance(data, Mapping):
        faults.append(f"{path or 'top level'}: expected a table, got {_name(data)}")
        return
    fields = _fields(record)
    for key, value in data.items():
        if key in fields:
            _check(fields[key].type, value, _join(path, key), faults)
        else:
            faults.append(f"{_join(path, key)}: unknown key{_near(str(key), fields, faults)}")
    missing = [name for name, field in fields.items() if field.required and name not in data]
    faults.extend(f"{_join(path, name)}: missing" for name in missing)


def _near(word: str, known: Iterable[str], faults: list[str]) -> str:
    """Return the near miss of a word, until there are more faults than anybody looks at."""
    return near_miss(word, known) if len(faults) < limits.NEAR_MISSES else ""


@functools.cache
def _fields(record: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return a record's fields by key; msgspec evaluates the annotations anew for every asking."""
    return {field.encode_name: field for field in msgspec.structs.fields(record)}


def _check_leaf(kind: Any, data: Any, path: str, faults: list[str]) -> None:
    try:
        msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        faults.append(f"{path}: {_expectation(kind, data, str(error))}")
        return
    for note in _notes(kind):
        extra = note.extra or {}
        known = extra.get("known", (data,))
        if data not in known or not extra.get("holds", lambda _: True)(data):
            faults.append(f"{path}: {_expected(note, data)}{_near(data, extra.get('known', ()), faults)}")


def _expectation(kind: Any, data: Any, said: str) -> str:
    for note in _notes(kind):
        if note.description:
            return _expected(note, data)
    if get_origin(kind) is Literal and isinstance(data, str):
        words = [str(word) for word in get_args(kind)]
        said += f"{near_miss(data, words)}: expected {' or '.join(words)}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        said += near_miss(str(data), [str(member.value) for member in kind])
    said = _WORD.sub(lambda found: " or ".join(_WORDS.get(one, one) for one in found[1].split(" | ")), said)
    return f"{said[:1].lower()}{said[1:]}"


def _expected(note: msgspec.Meta, data: Any) -> str:
    """Say what a value had to be; an empty text is one that nobody has filled in yet."""
    return (
        f"{_EMPTY}expected {note.description}"
        if data == ""
        else f"expected {note.description}, got {shown(data)}"
    )


def _notes(kind: Any) -> list[msgspec.Meta]:
    """Return what a type says beside itself.

    ``extra["known"]`` of a text are its values, all of them; ``extra["holds"]`` says whether one is what it looks like.
    """
    return [note for note in getattr(kind, "__metadata__", ()) if isinstance(note, msgspec.Meta)]


def shown(data: object) -> str:
    """Return a value as messages tell it, cut where it is long: as JSON has it, but for texts."""
    from json import dumps

    text = repr(data) if isinstance(data, str) else dumps(data, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _join(path: str, key: object) -> str:
    text = str(key)
    bare = text.replace("-", "").replace("_", "").isalnum()
    text = text if bare else f'"{text}"'
    return f"{path}.{text}" if path else text


def _name(data: object) -> str:
    names = {list: "array", dict: "object", NoneType: "null"}
    name = names.get(type(data), type(data).__name__)
    return _WORDS.get(name, name)


def toml(data: bytes, name: str) -> dict[str, Any]:
    """Return what a TOML file holds; RecipeError when it is none."""
    try:
        return table(data)
    except ValueError as error:
        raise RecipeError(f"{name}.toml is not TOML: {error}") from None


def table(data: bytes | str) -> dict[str, Any]:
    """Return what TOML holds; ValueError when it is none, or would take more time and memory than its size is worth.

    Integers have at most 64 bits, as the specification says: longer ones cannot even be shown.
    """
    import tomllib

    if len(data) > limits.TOML:
        raise ValueError(f"{len(data):,} bytes; {limits.TOML:,} are taken")
    text = data if isinstance(data, str) else data.decode("utf-8")
    if deep := next(_deep_keys(text), ""):
        raise ValueError(f"the key {deep[:40]}... has more than {limits.KEY_PARTS} parts")
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    values: list[object] = [found]
    while values:
        value = values.pop()
        if isinstance(value, int) and not -_WIDE <= value < _WIDE:
            raise ValueError("an integer of more than 64 bits")
        values.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return found


def _deep_keys(text: str) -> Iterator[str]:
    """Yield the dotted keys of TOML that have too many parts."""
    for match in _KEY.finditer(text):
        key = match[1] or ""
        if key.count(".") >= limits.KEY_PARTS and len(_PARTS.findall(key)) > limits.KEY_PARTS:
            yield key


def json(data: bytes | str) -> Any:
    """Return what JSON of others holds.

    ValueError when it is none, holds half of a character or what is no number, is nested too deeply, or has a key twice
    in a table: of two readers take either.
    """
    from json import loads

    try:
        found = loads(data, object_pairs_hook=_table)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    decoded(data, Any)
    return found


class NewerError(ValueError):
    """A document has a schema that this retread does not know yet."""


def document(data: bytes | str, newest: int) -> dict[str, Any]:
    """Return a table of JSON that says its schema.

    NewerError when that is above ``newest``, ValueError for anything else that is no such table; both in plain words.
    """
    found = json(data)
    if not isinstance(found, dict):
        raise ValueError(f"it is {_name(found)}, and no table")
    if "schema" not in found:
        raise ValueError("it does not say its schema")
    schema = found["schema"]
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise ValueError(f"its schema is {_name(schema)}, and no number")
    if schema < 1:
        raise ValueError(f"its schema is {schema}")
    if schema > newest:
        raise NewerError(f"schema {schema}; this retread reads up to {newest}")
    return found


def decoded(data: bytes | str, kind: type[T]) -> T:
    """Return JSON as a record, or as another type; ValueError when it is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"{key!r} is there twice")
        seen[key] = value
    return seen


def again(values: Sequence[object]) -> dict[int, object]:
    """Return index -> value of those that stood there before."""
    seen = dict[object, int]()
    return {index: value for index, value in enumerate(values) if seen.setdefault(value, index) != index}


def count(faults: list[str]) -> str:
    """Return how many faults there are, in words."""
    return "a fault" if len(faults) == 1 else f"{len(faults)} faults"
