"""What a build needed is there for the next: kept whole, never made less by a cache, never in the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from retread.compile import measures as module
from retread.compile import stage
from retread.compile.measures import Measures
from retread.compile.schedule import Cost
from retread.errors import UsageError
from retread.records import Sha256


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measures" / "demo.json"


def cost(seconds: float, memory: int) -> Cost:
    return Cost(seconds=seconds, memory=memory)


def known(path: Path) -> dict[str, tuple[float, int]]:
    return {name: (one.seconds, one.memory) for name, one in Measures(path).known.items()}


def test_the_next_build_knows_what_this_one_needed(path: Path) -> None:
    assert known(path) == {}
    Measures(path).learn({"a.cu": cost(10.5, 5000), "b.cu": cost(1, 10)}, cached=False)
    assert known(path) == {"a.cu": (10.5, 5000), "b.cu": (1, 10)}


def test_a_real_compile_counts_even_if_it_needed_less(path: Path) -> None:
    Measures(path).learn({"a.cu": cost(10, 5000), "b.cu": cost(1, 10)}, cached=False)
    Measures(path).learn({"a.cu": cost(4, 300)}, cached=False)
    assert known(path) == {"a.cu": (4, 300), "b.cu": (1, 10)}


def test_with_a_cache_only_what_is_more_than_was_known_counts(path: Path) -> None:
    Measures(path).learn({"a.cu": cost(10, 5000), "b.cu": cost(2, 10)}, cached=False)
    Measures(path).learn({"a.cu": cost(0.1, 20), "b.cu": cost(1, 900), "new.cu": cost(0.1, 5)}, cached=True)
    assert known(path) == {"a.cu": (10, 5000), "b.cu": (2, 900)}


def test_one_build_learns_into_what_it_goes_by(path: Path) -> None:
    measures = Measures(path)
    measures.learn({"a.cu": cost(10, 5000)}, cached=False)
    assert measures.known == {"a.cu": Cost(seconds=10, memory=5000)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"a.cu": 1}',
        '{"a.cu": {"seconds": "x", "memory": 1}}',
        '{"a.cu": {"seconds": 1}}',
        "\xff",
    ],
)
def test_a_file_that_cannot_be_read_counts_as_none_and_is_written_anew(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    assert known(path) == {}
    Measures(path).learn({"a.cu": cost(1, 2)}, cached=False)
    assert known(path) == {"a.cu": (1, 2)}


def test_what_took_long_elsewhere_orders_what_was_never_compiled_here(path: Path) -> None:
    Measures(path).learn({"a.cu": cost(10, 5000)}, cached=False)
    measures = Measures(path, {"a.cu": 99, "b.cu": 50})
    assert measures.known == {"a.cu": cost(10, 5000), "b.cu": cost(50, 0)}
    measures.learn({"c.cu": cost(1, 1)}, cached=False)
    assert set(known(path)) == {"a.cu", "c.cu"}


def record(hits: int) -> bytes:
    units = [("csrc/b.cu", 93.21), ("csrc/a.cu", 0.44)]
    facts = stage.CompileFacts(
        schema=1, wheel="demo.whl", sha256=Sha256(64 * "a"), native_digest="n", compiled=2, seconds=1, peak=1, jobs=2,
        units=tuple(stage.UnitReport(name=name, tool="nvcc", seconds=one, memory=9) for name, one in units),
        network=False, fixed=True, cache=stage.CacheFacts(hits=hits, misses=40), read=(), outside={},
    )  # fmt: skip
    return msgspec.json.encode(facts)


def test_what_a_build_took_is_shipped_with_its_recipe() -> None:
    told = module.to_ship(record(hits=2), "demo.whl.compile.json")
    assert told == b'{\n  "csrc/a.cu": 0.4,\n  "csrc/b.cu": 93.2\n}\n'


def test_what_tells_no_times_is_refused() -> None:
    with pytest.raises(UsageError, match=r"x\.json: 5 of its steps came from the compile cache"):
        module.to_ship(record(hits=5), "x.json")
    with pytest.raises(UsageError, match=r"x\.json is no record of a compile: "):
        module.to_ship(b"{}", "x.json")
