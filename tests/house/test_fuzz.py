"""The fuzzer: every parser is begun with what it reads, and what goes wrong is kept as a file that reads it again."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import NoReturn

import pytest

from fuzz import mutate, run
from fuzz.parsers import PARSERS, Parser


def crash(_: bytes, __: Path) -> NoReturn:
    raise KeyError("planted")


def hang(_: bytes, __: Path) -> NoReturn:
    raise run.TooSlowError


@pytest.mark.parametrize("name", PARSERS)
def test_every_parser_reads_one_of_its_seeds_and_raises_typed_errors_alone(name: str, tmp_path: Path) -> None:
    parser, rng = PARSERS[name], random.Random(7)
    seeds = parser.seeds()
    assert "read" in {run.tried(parser, one, tmp_path)[0] for one in seeds}
    for _ in range(3):
        data = parser.way(rng.choice(seeds), rng)
        assert len(data) <= 2 * mutate.LARGEST
        assert run.tried(parser, data, tmp_path)[1] == ""
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_printed_is_added_to_the_page() -> None:
    page = run.PAGE.read_text("utf-8")
    totals = run.Totals({"elf": 1_000, "TOML": 1}, 12.0)
    made = run.added(page, "\n".join(run.rows(totals)))
    before, after = (
        [int(one.replace(",", "")) for one in re.findall(r"[0-9][0-9,]*(?= \||[ ]inputs)", text)]
        for text in (page, made)
    )
    assert sum(after) - sum(before) == 2 * 1_001
    assert len([one for one in zip(before, after, strict=True) if one[0] != one[1]]) == 3
    for wrong in ("no table", "\n".join(run.rows(run.Totals({"nothing": 1}, 1.0)))):
        with pytest.raises(ValueError, match=r"no table of a run|no parser nothing"):
            run.added(page, wrong)


def test_what_goes_wrong_is_kept_once_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PARSERS, "entry points", Parser(crash, lambda: [b"x"], mutate.raw))
    totals = run.fuzz(["entry points"], 0.3, 1, tmp_path)
    (kept,) = tmp_path.glob("*.input")
    assert totals.inputs["entry points"] > 1
    assert "KeyError: 'planted'" in kept.with_suffix(".txt").read_text()
    assert run.replay(kept) == 1
    assert "KeyError" in capsys.readouterr().out


def test_what_takes_too_long_or_ends_the_process_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.tried(Parser(hang, list, mutate.raw), b"", tmp_path)[1].startswith("TooSlowError")
    monkeypatch.setitem(PARSERS, "names", Parser(lambda *_: run.os._exit(9), lambda: [b"x"], mutate.raw))
    run.fuzz(["names"], 0.3, 1, tmp_path / "out")
    assert "the process ended with 9" in next((tmp_path / "out").glob("*.txt")).read_text()


def test_the_same_seed_gives_the_same_inputs() -> None:
    parser = PARSERS["METADATA"]
    one, two = (
        [parser.way(parser.seeds()[0], rng) for _ in range(5)] for rng in (random.Random(3), random.Random(3))
    )
    assert one == two
