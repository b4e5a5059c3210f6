"""Every way in which retread refuses: one class per kind, each with the exit code that scripts rely on.

Libraries raise, only the command line exits. A message says what is wrong and where; ``hint`` says what to do next.
"""

from __future__ import annotations

from retread.address import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar, Final

_SHOWN: Final = 20
"""Faults of one refusal that are listed: a screen holds them with the message above them still in sight."""
KEEP_LIBRARY: Final = "let the recipe exempt the library ('exempt')"
"""What is left to do where a library can be neither grafted nor slimmed, beside compiling it."""


class RetreadError(Exception):
    """A refusal that a user can act on.

    ``message`` says what and where, ``hint`` what next, ``faults`` lists every single fault when there are several.
    None of them shows the password of an address, whoever wrote the text.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"
    """The word that every message begins with."""
    words: ClassVar[str] = "a bug"
    """What lists of exit codes say of it."""

    def __init__(self, message: str, *, hint: str = "", faults: Sequence[str] = ()) -> None:
        self.message = shown(message)
        self.hint = shown(hint)
        self.faults = tuple(map(shown, faults))
        super().__init__(self.message)

    def begin(self, words: str) -> None:
        """Let the message begin with these words, if it does not yet."""
        self.message = f"{words}{self.message.removeprefix(words)}"

    def __str__(self) -> str:
        lines = [self.message, *(f"  - {fault}" for fault in self.faults)]
        if self.hint:
            lines.append(f"  next: {self.hint}")
        return "\n".join(lines)


def first(faults: Sequence[str]) -> list[str]:
    """Return the first 20 faults, and how many more there are."""
    more = len(faults) - _SHOWN
    return [*faults[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])]


class UsageError(RetreadError):
    """The command line asks for something that does not exist."""

    exit_code = 2
    kind = "usage"
    words = "usage"


class RecipeError(RetreadError):
    """A recipe, a toolchain file or a series file is wrong."""

    exit_code = 3
    kind = "recipe"
    words = "recipe"


class SourceError(RetreadError):
    """The source is not what the pin says."""

    exit_code = 4
    kind = "source"
    words = "source proof"


class SeriesError(RetreadError):
    """A patch breaks a rule of the series, or does not apply."""

    exit_code = 5
    kind = "series"
    words = "patch series"


class PlanError(RetreadError):
    """No lane, or not the lane asked for, can make this target."""

    exit_code = 6
    kind = "plan"
    words = "plan"


class FetchError(RetreadError):
    """A download failed, or is not what its digest says."""

    exit_code = 7
    kind = "fetch"
    words = "download"


class BaseError(RetreadError):
    """The base wheel is not proven to come from the pin."""

    exit_code = 8
    kind = "base"
    words = "base wheel"


class WheelError(RetreadError):
    """A wheel breaks the zip or the wheel format."""

    exit_code = 9
    kind = "wheel"
    words = "wheel format"


class ElfError(RetreadError):
    """A shared object cannot be read, or not be edited safely."""

    exit_code = 10
    kind = "elf"
    words = "ELF"


class FatbinError(RetreadError):
    """A fat binary is corrupt, or holds nothing that can be assembled."""

    exit_code = 11
    kind = "fatbin"
    words = "fat binary"


class AuditError(RetreadError):
    """The finished wheel does not hold what the target promised."""

    exit_code = 12
    kind = "audit"
    words = "audit"


class StoreError(RetreadError):
    """The store cannot be written: no space, no permission, a foreign file in the way."""

    exit_code = 13
    kind = "store"
    words = "store or disk"


class ToolError(RetreadError):
    """A program that retread runs is missing or failed."""

    exit_code = 14
    kind = "tool"
    words = "external program"


class CompileError(RetreadError):
    """The patched tree does not compile, or nothing here can compile it."""

    exit_code = 15
    kind = "compile"
    words = "compile"


class SmokeError(RetreadError):
    """A smoke test of the wheel failed, or nothing ran."""

    exit_code = 16
    kind = "smoke"
    words = "smoke test"


class EvidenceError(RetreadError):
    """A report, or a kit, is not what it says: edited, damaged, of another wheel, of a newer schema."""

    exit_code = 17
    kind = "evidence"
    words = "evidence"


class HostError(RetreadError):
    """The machine, its clock, or the environment on it, is not fit for what was asked."""

    exit_code = 18
    kind = "host"
    words = "machine unfit"


class GateError(RetreadError):
    """A wheel lacks evidence that the index's policy demands, or a signature is not what it says."""

    exit_code = 19
    kind = "gate"
    words = "gate"


class PublishError(RetreadError):
    """What the index refuses to list or to take, a release that is not complete, or an index that is not sound."""

    exit_code = 20
    kind = "index"
    words = "index"


class RevokedError(RetreadError):
    """A lock file or an environment holds what was revoked or yanked."""

    exit_code = 21
    kind = "revoked"
    words = "revoked"


class FitError(RetreadError):
    """Something in an environment has to change before its GPU code runs, or nobody here knows an error."""

    exit_code = 22
    kind = "fit"
    words = "environment does not fit"


class PeError(RetreadError):
    """A Windows library cannot be read, or not be edited safely."""

    exit_code = 23
    kind = "pe"
    words = "Windows library"


class OutOfMemoryError(RetreadError):
    """A job was killed since it wanted more memory than it was given."""

    exit_code = 24
    kind = "memory"
    words = "killed for memory"


INTERRUPTED = 130
"""The exit code of a command that was interrupted: 128 and the number of the signal, as shells have it."""


UNREADABLE: Final = (ElfError, PeError, FatbinError)
"""What a library and its GPU code are refused with, whatever its format, when they cannot be read or edited."""


def exit_codes() -> dict[int, str]:
    """Return what each exit code of the command means, in a few words."""
    kinds: list[type[RetreadError]] = [RetreadError, *RetreadError.__subclasses__()]
    return {0: "done", **{kind.exit_code: kind.words for kind in kinds}, INTERRUPTED: "interrupted"}
