"""What is done to a series, as far as no tree is needed to refuse it; the rest is tried with real ones in tests/e2e."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from retread import limits
from retread.errors import SeriesError
from retread.queue import actions, getting
from retread.queue.pieces import Piece
from retread.queue.repository import Repository


def test_patches_that_no_build_applies_together_are_not_squashed(tmp_path: Path) -> None:
    heads = {"0001-a.patch": b"Subject: A\n", "0002-b.patch": b"Subject: B\nOnly-with: clang\n"}
    some = [Piece(name, head, "", "", None) for name, head in heads.items()]
    with pytest.raises(SeriesError, match="applied with different compilers") as refused:
        actions.squashed(actions.Bench("demo-1.2", Repository(tmp_path, {}, tmp_path), "", some), ["1", "2"])
    assert refused.value.faults == ("0001-a.patch: with any compiler", "0002-b.patch: with clang")


def test_a_patch_on_standard_input_is_not_cut_where_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATCH", 1 << 20)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"x\n" * (1 << 19) + b"\n")))
    with pytest.raises(SeriesError, match="standard input: larger than 1 MiB"):
        getting.file("-")
