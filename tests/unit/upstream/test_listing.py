"""The listing of a commit: what is refused before git is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.errors import UsageError
from retread.upstream import listing


def test_git_is_given_no_address_with_a_password(tmp_path: Path) -> None:
    """Its arguments can be read by every user of the machine."""
    with pytest.raises(UsageError, match="given with a password or a token") as caught:
        listing.fetch("https://me:s3cret@host/demo", ["v1"], tmp_path, environment={})
    assert "s3cret" not in str(caught.value)
