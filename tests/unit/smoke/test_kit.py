"""The kit's manifest as reports name it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from retread.smoke import kit


def test_a_kit_is_known_by_its_manifest_as_it_lies_in_it(tmp_path: Path) -> None:
    older = b'{"wheel": "demo.whl",\n "digest": "of a retread that knew fewer fields"}'
    with zipfile.ZipFile(tmp_path / "demo.kit.pyz", "w") as archive:
        archive.writestr(kit.MANIFEST, older)
    assert kit.digest(tmp_path / "demo.kit.pyz") == hashlib.sha256(older).hexdigest()
