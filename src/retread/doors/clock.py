"""The one place that asks what day it is: a clock of another age is refused before anything is dated by it.

Wheels, signatures, indexes and what is thrown away by its age hang on the date. A board without a battery says 1970.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from retread.errors import HostError
from retread.units import utc

FIRST: Final = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
LAST: Final = int(datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp())
"""What a wheel's members can state: the zip format has no other times."""


def now() -> int:
    """Return the time in seconds since 1970; HostError when no wheel could state it."""
    found = int(time.time())
    if FIRST <= found <= LAST:
        return found
    raise HostError(
        f"this machine's clock shows {utc(found)}, so nothing can be dated",
        hint="set it ('timedatectl set-ntp true', or as root 'date --set ...') and run the same command again",
    )
