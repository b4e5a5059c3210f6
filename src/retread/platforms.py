"""The platforms that wheels are made for, each apart from the machine that makes them. Pure but for ``here``."""

from __future__ import annotations

from enum import StrEnum


class Platform(StrEnum):
    """For which machines a wheel is."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"
    WIN_AMD64 = "win_amd64"

    @property
    def machine(self) -> str:
        """The processor, as ELF files and toolchains name it: ``x86_64``."""
        return "x86_64" if self is Platform.WIN_AMD64 else str(self)


DEFAULT = Platform.X86_64
"""For which a target is made when nobody says another, on every machine."""


def of_tags(tags: tuple[str, ...]) -> Platform:
    """Return the platform of a wheel's tags, the default for one that names none that is known."""
    endings = {tag.rpartition("-")[2] for tag in tags}
    return next((one for one in Platform if any(tag.endswith(one) for tag in endings)), DEFAULT)


def here() -> str:
    """Return the processor of this machine."""
    import platform

    return platform.machine()
