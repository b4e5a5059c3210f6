"""What a kit runs on a machine that has only Python and torch: the runner, and what the suites stand on."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - it is no fault of the wheel
    """Why the kit does not run here, and the exit code that says so."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
