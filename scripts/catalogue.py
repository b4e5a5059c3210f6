"""Write src/retread/fit/catalogue.json from the recipes, the series and the usage files: what 'retread fit' stands on.

``make catalogue`` runs this; a test holds the committed file to what it would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from retread.fit import catalogue, inquiry

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = ROOT / "src" / "retread" / "fit" / inquiry.PACKAGED


def text() -> bytes:
    """Return the catalogue of this clone."""
    return catalogue.write(inquiry.of_workspace(ROOT))


if __name__ == "__main__":
    PLACE.write_bytes(text())
