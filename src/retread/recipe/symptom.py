"""What a user sees of a fault that a patch mends, and where: the header's ``Seen-as:``, one line for each text. Pure.

    Seen-as: AttributeError: Cannot set attribute 'src' directly [when triton >=3.3,<3.5]

``...`` in a text stands for anything on the line. A condition is a version range of ``torch``, ``triton`` or
``python``, of the GPU's capability (``gpu >9.0``), of the CUDA that torch is built for (``cuda !=12.*``), a file that
the package has to have (``library``), or, in words, what only some code does (``use``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from retread import limits, pypa
from retread.records import Record
from retread.strict import near_miss

FIELD: Final = "Seen-as"
RANGES: Final = ("torch", "triton", "python", "gpu", "cuda")
"""What a condition gives a version range of."""
KEYS: Final = (*RANGES, "library", "use")
_LEAST: Final = 12
"""Letters of a text without its dots: a shorter one would be found in any log."""
_SHAPE: Final = re.compile(r"(?P<text>.*?)(?:\s*\[when (?P<when>[^\]]*)\])?", re.DOTALL)


class Symptom(Record, frozen=True, kw_only=True):
    """A text by which users know a fault, and the conditions under which it appears, all of which have to hold."""

    text: str
    when: dict[str, str]
    """Condition -> range, glob or words; empty for a fault that everybody has."""


def parse(value: str) -> Symptom:
    """Return what a ``Seen-as:`` says; ValueError with what is wrong with it."""
    if len(value) > limits.SYMPTOM:
        raise ValueError(f"{len(value):,} characters; {limits.SYMPTOM:,} are taken")
    match = _SHAPE.fullmatch(" ".join(value.split()))
    assert match, value
    text, when = match["text"], dict(_conditions(match["when"] or ""))
    if len(text.replace("...", "")) < _LEAST:
        raise ValueError(f"{text!r} is no text that tells a fault from others; quote more of the message")
    return Symptom(text=text, when=when)


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, (one.strip() for one in text.split(";"))):
        key, _, value = part.partition(" ")
        if key not in KEYS or not value:
            raise ValueError(
                f"{part!r} is no condition like 'triton >=3.3' or 'gpu >9.0'{near_miss(key, KEYS)}"
            )
        if key in RANGES:
            try:
                pypa.specifiers(value)
            except ValueError:
                raise ValueError(f"{part!r}: {value!r} is no version range like '>=3.3,<3.5'") from None
        yield key, value


def faults(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what is wrong with the texts among a header's fields."""
    for name, value in items:
        if name == FIELD:
            try:
                parse(value)
            except ValueError as error:
                yield f"header: {FIELD}: {error}"


def symptoms(items: Iterable[tuple[str, str]]) -> tuple[Symptom, ...]:
    """Return the texts among a header's fields, which are sound."""
    return tuple(parse(value) for name, value in items if name == FIELD)
