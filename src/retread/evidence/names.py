"""What the evidence that lies beside a wheel is called: the wheel's own name, and one of these behind it. Pure."""

from __future__ import annotations

from typing import Final

AUDIT: Final = ".audit.json"
COMPILE: Final = ".compile.json"
RESOURCES: Final = ".resources.json"
ENVELOPE: Final = ".dsse.json"
