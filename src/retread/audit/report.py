"""The evidence that an audit leaves. Pure."""

from __future__ import annotations

from msgspec import field

from retread.records import Record, Sha256


class Check(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One check of an audit: what was looked at, whether it holds, and what was found."""

    check: str
    subject: str
    ok: bool
    detail: str
    waived: str = ""
    """The reason for which it need not hold, where it does not."""

    @property
    def fails(self) -> bool:
        """Say whether it does not hold and has to."""
        return not self.ok and not self.waived


class AuditReport(Record, frozen=True, kw_only=True):
    """Evidence: the audit of the wheel with this sha256."""

    schema: int
    wheel: str
    sha256: Sha256
    size: int
    target: str
    ok: bool
    """Whether every check holds, but for those that are waived."""
    checks: tuple[Check, ...]
    unread: dict[str, str] = field(default_factory=dict)
    """Members that may hold code and were not looked into, each with the reason: ``ok`` says nothing of them."""
    waived: dict[str, str] = field(default_factory=dict)
    """Rules that it was not held to, each with the reason, as the promise has them."""

    @property
    def held(self) -> str:
        """What it was held to without a target."""
        return "any wheel" if self.wheel.endswith(".whl") else "any file"
