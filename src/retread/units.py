"""Quantities as people read them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

DAY: Final = 86_400
"""Seconds."""
_FACTORS: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
}  # fmt: skip
_BYTES: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([a-z]*)", re.IGNORECASE)


def size(count: int) -> str:
    """Write a number of bytes for people: 3.3 MB."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def counted(count: int, thing: str) -> str:
    """Write how many there are of a thing: ``1 wheel``, ``1,200 patches``, ``0 entries``."""
    if count == 1:
        return f"1 {thing}"
    if thing.endswith("y") and thing[-2] not in "aeiou":
        return f"{count:,} {thing[:-1]}ies"
    return f"{count:,} {thing}{'es' if thing.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def enumerated(words: Sequence[str]) -> str:
    """Write words one after the other: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def parse(text: str) -> int:
    """Return a number of bytes, written as ``size`` does or as ``100MiB``; ValueError for what is none."""
    match = _BYTES.fullmatch(text)
    if match is None or match[2].lower() not in _FACTORS:
        raise ValueError(f"{text!r} is not a size like 100MB, 95.4MiB or 104857600")
    return int(float(match[1]) * _FACTORS[match[2].lower()])


def about(seconds: float) -> str:
    """Write how long something will take, no more exactly than anybody knows: ``about 40 s``, ``about 12 min``."""
    if seconds < 90:
        return f"about {max(1, round(seconds / 10)) * 10} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """Return a time as a clock shows it: ``0:07``, ``12:05``, ``1:02:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def utc(started: int) -> str:
    """Return seconds since 1970 as ISO 8601; the number itself when no calendar reaches there."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=started)
    except OverflowError:
        return str(started)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"  # strftime writes year 1 as 1
