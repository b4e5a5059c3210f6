"""What was read is taken from what was kept, as long as nothing of it, or of who reads, is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from fields import machine
from house import ROOT
from retread.doors import readings
from retread.doors.readings import Readings
from retread.errors import RecipeError
from retread.fields import Table, Text
from retread.recipe import reading, series, toolchain, workspace


class One(Table, frozen=True, kw_only=True):
    """A record whose default is refused when it is written."""

    some_text: Text
    more: Text = ""


class Reader:
    """Reads, and counts how often."""

    def __init__(self, text: str) -> None:
        self.text, self.times = text, 0

    def __call__(self) -> One:
        """Return the record."""
        self.times += 1
        return One(some_text=self.text)

    def plain(self) -> dict[str, str]:
        """Return what was read, as it stood there."""
        return {"some-text": self.text}


def test_the_same_bytes_are_read_once(tmp_path: Path) -> None:
    kept, read = Readings(tmp_path / "read", "a"), Reader("x")
    found = [kept.of(One, ("name", b"x"), read, plain=read.plain) for _ in range(3)]
    assert (found, read.times) == ([One(some_text="x")] * 3, 1)
    assert kept.of(One, ("name", b"y"), read, plain=read.plain) == found[0]
    assert Readings(tmp_path / "read", "b").of(One, ("name", b"x"), read, plain=read.plain) == found[0]
    assert read.times == 3


def test_what_would_not_be_the_same_is_not_kept(tmp_path: Path) -> None:
    kept, read = Readings(tmp_path / "read", "a"), Reader("x")
    for plain in (None, Reader("y").plain):
        assert kept.of(One, b"x", read, plain=plain) == One(some_text="x")
    assert read.times == 2
    assert not (tmp_path / "read").exists()


def test_what_was_damaged_is_read_again(tmp_path: Path) -> None:
    kept, read = Readings(tmp_path / "read", "a"), Reader("x")
    kept.of(One, b"x", read, plain=read.plain)
    next((tmp_path / "read").iterdir()).write_bytes(b'{"some-text": 1}')
    assert kept.of(One, b"x", read, plain=read.plain) == One(some_text="x")
    assert read.times == 2


def test_a_store_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "read").touch()
    kept, read = Readings(tmp_path / "read", "a"), Reader("x")
    assert kept.of(One, b"x", read, plain=read.plain) == One(some_text="x")


def test_a_refusal_is_told_every_time(tmp_path: Path) -> None:
    def read() -> One:
        raise RecipeError("wrong")

    for _ in range(2):
        with pytest.raises(RecipeError, match="wrong"):
            Readings(tmp_path, "a").of(One, b"x", read)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["xformers-0.0.35", "ctranslate2-4.8.5"])
def test_a_recipe_that_was_read_before_is_the_same_without_its_parsers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = readings.of_machine(machine(tmp_path))
    first = workspace.load(ROOT, name, kept)
    assert first == workspace.load(ROOT, name)
    for module, parser in (
        (reading, "parse_recipe"),
        (series, "parse_series"),
        (toolchain, "parse_toolchain"),
    ):
        monkeypatch.setattr(module, parser, None)
    assert workspace.load(ROOT, name, kept) == first
