"""The clock: what is dated, or is old by its date, is refused on a machine of another age; nothing else is."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest

import tinyindex
from retread.cli import main
from retread.doors import clock
from retread.doors.store import Store
from retread.errors import HostError, PublishError, SourceError
from retread.index import change
from retread.recipe import proof

AGES = {
    "0001-01-01T00:00:00Z": -62_135_596_800,
    "1970-01-01T00:00:07Z": 7,
    "2108-01-01T00:00:00Z": 4_354_819_200,
    "253402300800": 253_402_300_800,
}
"""What a message tells -> the clock; the last is in the year 10000, which no calendar here has."""


def at(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: seconds))


@pytest.mark.parametrize("told", AGES)
def test_a_clock_of_another_age_dates_nothing(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tinyindex.make_wheel(tmp_path / "dist", "demo", "1.0+cu128.1")
    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "store"))
    publish = ["publish", str(wheel), "--index", str(tmp_path / "index"), "--allow-unproven", "tried"]
    at(AGES[told], monkeypatch)
    for words in (publish, ["store", "prune"], ["statement", str(wheel), "--builder", "b", "--out", "x"]):
        assert main.run(words) == HostError.exit_code
        said = capsys.readouterr()
        assert f"retread: host: this machine's clock shows {told}, so nothing can be dated" in said.err
        assert not said.out
    assert not (tmp_path / "index").exists()


def test_by_a_clock_of_another_age_no_build_throws_anything_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.partial("begun").write_bytes(b"bytes")
    at(AGES["253402300800"], monkeypatch)
    assert store.tidy() == 0
    assert store.partial("begun").exists()


@pytest.mark.parametrize("last", ["9999-12-31T23:59:59.999999Z", "today"])
def test_an_index_whose_last_action_has_no_time_after_it_takes_no_more(last: str) -> None:
    with pytest.raises(PublishError, match=rf"its last action was at '{last}', after which nothing can be"):
        change.later(1_700_000_000, last)


def test_a_commit_of_a_year_that_no_calendar_has_is_refused() -> None:
    commit = b"tree %b\ncommitter a <a> 253402300800 +0000\n\nx\n" % (40 * b"0")
    told = {"repository": "a/b", "commit": 40 * "0", "commit_object": b64encode(commit).decode()}
    with pytest.raises(SourceError, match="its time, 253402300800 seconds since 1970, is in no calendar"):
        proof.parse(json.dumps(told).encode() + b"\n", name="demo.tree")
