"""Waivers: rules of any wheel that a base wheel breaks itself, taken over by name and with the reason. Pure.

A rule that is waived is one of these, or a known miscompile. What a target promises is no rule of any wheel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from retread import strict

RULES: Final = {
    "wheel": "WHEEL says other tags than the file name; the finished wheel says those of its name",
    "record": "RECORD does not describe the wheel; the finished wheel has one of its own",
    "machine": "a library is for another machine than the tags",
    "glibc": "a library needs a newer glibc than the tags allow",
    "libstdc++": "a library needs a newer libstdc++ than the tags allow",
    "musl": "a library of a musllinux wheel is linked to glibc",
    "paths": "a library names folders of the machine that built it",
    "providers": "nothing provides a library that one needs",
    "names": "names that cannot be unpacked everywhere",
    "entry points": "entry points that installers cannot read",
    "requires python": "a Requires-Python that is no specifier",
}
"""Rule, as an audit names it -> what breaks it."""
MISCOMPILE: Final = "miscompile-"
"""How the names of known miscompiles begin."""
READ: Final = ("wheel", "record")
"""Rules that are held when a wheel is opened, and that sealing mends."""


def faults(waived: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with a target's waivers, with their key paths."""
    for rule, reason in waived.items():
        if rule not in RULES and not rule.startswith(MISCOMPILE):
            near = strict.near_miss(rule, RULES)
            yield f'waive."{rule}": there is no such rule{near}; an audit names those that a wheel breaks'
        elif not reason.strip():
            yield f'waive."{rule}": a waiver needs its reason'


def key(target: str, rule: str) -> str:
    """Return the recipe's key of a waiver."""
    quoted = rule if rule.replace("-", "").isalnum() else f'"{rule}"'
    return f"targets.{target}.waive.{quoted}"
