"""The digest of clang's stand-ins: what they do, and not what they say to readers."""

from __future__ import annotations

import pytest

from retread.toolkit import clang


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("import sys\n", "import sys  # for its arguments\n", True),
        ("sys.exit(", "raise SystemExit(", False),
    ],
)
def test_a_comment_in_the_program_in_nvcc_s_place_makes_no_toolkit_anew(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, *, same: bool
) -> None:
    before = clang.programs_digest()
    assert old in clang._MAIN
    monkeypatch.setattr(clang, "_MAIN", clang._MAIN.replace(old, new))
    assert (clang.programs_digest() == before) is same


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [("# A build wants", "# Builds want", True), ("*) ;;", "-x) ;;", False), ("exec ", "", False)],
)
def test_nor_does_one_in_clang_s_script(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, *, same: bool
) -> None:
    before = clang.programs_digest()
    monkeypatch.setattr(clang, "_CLANG", clang._CLANG.replace(old, new))
    assert (clang.programs_digest() == before) is same
