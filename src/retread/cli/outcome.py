"""What came out of a build, as people read it. A build that changes nothing needs no more of what can be shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retread.build.pipeline import Built


def lines(found: Built) -> Iterator[str]:
    """Yield what came out of a build: a wheel that was made before lies there, comes there, or is put back there."""
    path = Path(found.path)
    before = "put back" if found.replaced else "from the store" if found.new else "unchanged"
    became = before if found.cached else "built"
    yield f"{became}: {path.name}"
    yield f"  {found.size:,} bytes in {path.parent}"
    yield f"  sha256 {found.sha256}"
