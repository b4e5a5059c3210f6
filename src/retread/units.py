"""Quantities as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def size(count: int) -> str:
    """Write a number of bytes for people: 3.3 MB."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


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
