"""Which of retread's own code decides the bytes of what it makes: the keys hold that part, and no other. Pure."""

from __future__ import annotations

from typing import Final

DECIDING: Final = (
    "arch.py", "code.py", "fields.py", "records.py", "strict.py", "version.py",
    "doors/fs.py", "doors/machine.py", "doors/proc.py", "doors/store.py",
    "audit/", "build/", "compile/", "elf/", "environment/", "lanes/", "lockfile/", "recipe/", "source/", "toolkit/",
    "wheel/",
)  # fmt: skip
"""Files, and folders, which end with a slash, below retread's own. What they import decides, too, but for:"""
NOT_DECIDING: Final = {
    "errors": "it says what went wrong",
    "units": "it writes numbers for people",
    "doors.console": "it talks",
    "doors.net": "what it brings is held to a sha256 that the recipe, toolchain or lock pins",
    "evidence.beside": "it names files beside a wheel",
    "smoke.kit": "it tries a wheel that is made, and changes none",
}
"""Modules that deciding ones import -> why they decide nothing all the same."""
