"""What is kept of a smoke test between two runs, by a store and a kit that are there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from retread.canonical import digest
from retread.doors.store import Kind, Store
from retread.smoke import known
from retread.smoke.known import Keeper

VARIABLES = {"PATH": "/usr/bin", "TRITON_PTXAS_PATH": ""}


class Bench:
    """A keeper over an environment with one package, and what it has heard."""

    def __init__(self, root: Path) -> None:
        self.root, self.heard = root, list[str]()
        self.store = Store(root / "store")
        self.package = root / "env" / "lib" / "torch.py"
        self.triton = root / "triton" / "ptxas"
        for path in (self.package, self.triton, root / "env" / "bin" / "python"):
            path.parent.mkdir(parents=True)
            path.write_text("1")

    def keeper(self, *, cold: bool = False, subject: str = "demo") -> Keeper:
        python, paths = self.root / "env" / "bin" / "python", (self.triton.parent,)
        handed = self.root / "known.json"
        return Keeper(self.store, (subject,), python, paths, handed, cold, self.heard.append)

    def hand(self, variables: dict[str, str] = VARIABLES, **more: Any) -> tuple[str, dict[str, Any]]:
        key = self.keeper(**more).hand(variables)
        return key, json.loads((self.root / "known.json").read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def record(number: int, **more: Any) -> dict[str, Any]:
    table = {"case": "a", "base": f"base {number}", "members": {}, "outside": {}, "result": {}, **more}
    return {**table, "digest": digest(table)}


def test_what_a_kit_found_is_handed_to_the_next_the_newest_first_and_no_more_than_three(bench: Bench) -> None:
    key, said = bench.hand()
    assert said["known"] == {}
    for number in (1, 2, 3, 4, 2):
        bench.keeper().learn(key, {"a": record(number)})
    again, said = bench.hand()
    assert again == key
    assert [one["base"] for one in said["known"]["a"]] == ["base 2", "base 4", "base 3"]
    assert not said["cold"]
    assert bench.hand(cold=True)[1]["cold"]
    assert bench.hand(subject="other")[1]["known"] == {}
    assert bench.heard == []


@pytest.mark.parametrize("change", ["torch", "ptxas", "variable", "new-file", "python"])
def test_whatever_surrounds_a_case_is_in_the_key(bench: Bench, change: str) -> None:
    key, said = bench.hand()
    variables = dict(VARIABLES)
    match change:
        case "torch":
            bench.package.write_text("2")
        case "ptxas":
            before = bench.triton.stat()
            bench.triton.write_text("2")  # of the same size and time
            os.utime(bench.triton, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "variable":
            variables["TRITON_PTXAS_PATH"] = "/opt/ptxas"
        case "new-file":
            (bench.root / "env" / "lib" / "sitecustomize.py").write_text("")
        case _:
            (bench.root / "env" / "bin" / "python").write_text("2")
    other, now = bench.hand(variables)
    assert other != key
    assert now["around"] != said["around"]


def test_the_content_counts_and_not_when_it_was_written(bench: Bench) -> None:
    key, _ = bench.hand()
    bench.package.write_text("1")
    os.utime(bench.package, (0, 0))
    assert bench.hand()[0] == key


@pytest.mark.parametrize(
    "kept", [None, 5, [], {"a": 5}, {"a": {"digest": "of nothing"}}, {"a": {**record(1), "base": "x"}}]
)
def test_what_is_no_record_is_not_kept(bench: Bench, kept: object) -> None:
    key, _ = bench.hand()
    bench.keeper().learn(key, kept)
    assert bench.hand()[1]["known"] == {}


def test_what_was_damaged_is_said_and_not_handed_on(bench: Bench) -> None:
    key, _ = bench.hand()
    bench.keeper().learn(key, {"a": record(1)})
    path = bench.store.get(Kind.TRIALS, key)
    assert path
    (path / "known.json").write_text((path / "known.json").read_text()[:-9])
    assert bench.hand()[1]["known"] == {}
    (said,) = bench.heard
    assert said == "    note: what the store had of earlier runs was damaged, so everything is tried again"
    bench.keeper().learn(key, {"a": record(2)})
    assert bench.hand()[1]["known"].keys() == {"a"}


def test_python_s_own_library_is_covered_without_what_others_install_there() -> None:
    names = {one.name for one in known._library(Path(sys.executable))}
    assert "json" in names or not names
    assert not names & {"site-packages", "dist-packages", "__pycache__"}
