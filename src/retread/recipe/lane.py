"""The lanes by name. Apart from what chooses between them, which the command line must not import to list them."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """How a target is made, the cheapest first."""

    OVERLAY = "overlay"
    SOURCE = "source"
    CONTAINER = "container"
