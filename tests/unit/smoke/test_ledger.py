"""What an earlier result depends on: whatever of that changes has the case tried again, and nothing else does."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retread.canonical import digest
from retread.smoke.runtime.ledger import FRESH, Ledger, Reads

WHEEL = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"
MEMBERS = {
    "demo/__init__.py": "",
    "demo/kernels.py": "BLOCK = 64",
    "demo/helper.py": "def add(): ...",
    "demo/unrelated.py": "",
    "demo/_C.so": "machine code",
    f"{INFO}/METADATA": "Name: demo",
    f"{INFO}/RECORD": "of the first wheel",
    f"{INFO}/retread.json": "of the first wheel",
}
CASE = "suite:triton/sm_90/add"
RESULT = {
    "id": "triton/sm_90/add",
    "suite": "suite",
    "outcome": "passed",
    "seconds": 2.5,
    "numbers": {"cubin": 640},
}
Change = Callable[["Bench"], None]


class Bench:
    """A kit, what surrounds it, and what a case read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.members = dict(MEMBERS)
        self.kit = {"suites/suite.py": "0", "suites/harness.py": "0"}
        self.expect = ["add"]
        self.around = "of Python, torch, Triton, ptxas, variables"
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.outside = root / "libm.so"
        self.outside.write_text("libm")
        for name in ("site", "covered"):
            (root / "test" / name).mkdir(parents=True)

    def ledger(self, *, cold: bool = False) -> Ledger:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, text in self.members.items():
                archive.writestr(name, text)
        data = stream.getvalue()
        files = {**self.kit, f"wheels/{WHEEL}": hashlib.sha256(data).hexdigest()}
        sha256 = files[f"wheels/{WHEEL}"]
        manifest = {"wheel": WHEEL, "sha256": sha256, "expect": self.expect, "files": files, "digest": sha256}
        kit = SimpleNamespace(manifest=manifest, files={f"wheels/{WHEEL}": data}, digest="of the kit")
        folder = SimpleNamespace(root=str(self.root / "test"), site=str(self.root / "test" / "site"))
        path = self.root / "known.json"
        covered = [str(self.root / "covered")]
        said = {"around": self.around, "covered": covered, "cold": cold, "known": self.known}
        path.write_text(json.dumps(said))
        return Ledger(str(path), kit, folder)  # type: ignore[arg-type]

    def reads(self, **more: Any) -> Reads:
        site = self.root / "test" / "site"
        read = ["demo/__init__.py", "demo/kernels.py", "demo/helper.py"]
        files = {
            *(str(site / name) for name in read),
            str(self.outside),
            str(self.root / "covered" / "torch.py"),
        }
        return FRESH._replace(files=frozenset(files))._replace(**more)

    def keep(self, result: dict[str, Any] = RESULT, **more: Any) -> dict[str, Any]:
        ledger = self.ledger()
        ledger.keep(CASE, result, self.reads(**more))
        self.known = {name: [one] for name, one in ledger.kept.items()}
        return ledger.kept

    def taken(self) -> bool:
        return self.ledger().take(CASE) is not None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def member(name: str, text: str | None) -> Change:
    def change(bench: Bench) -> None:
        bench.members.pop(name, None)
        if text is not None:
            bench.members[name] = text

    return change


def test_a_result_is_taken_as_it_was_and_says_when_and_of_which_wheel(bench: Bench) -> None:
    made = bench.keep()[CASE]["made"]
    member("demo/unrelated.py", "x = 1")(bench)
    ledger = bench.ledger()
    assert ledger.take(CASE) == {**RESULT, "taken": made}
    assert ledger.seconds("suite") == {"triton/sm_90/add": 2.5}
    assert made.keys() == {"when", "wheel", "kit"}
    assert made["wheel"] != ledger._kit.manifest["sha256"]


@pytest.mark.parametrize(
    "change",
    {
        "kernel": member("demo/kernels.py", "BLOCK = 64\n"),
        "constant": member("demo/kernels.py", "BLOCK = 65"),
        "helper": member("demo/helper.py", "def add(): pass"),
        "library": member("demo/_C.so", "other machine code"),
        "new-file": member("demo/shadow.py", ""),
        "lost-file": member("demo/unrelated.py", None),
        "metadata": member(f"{INFO}/METADATA", "Name: demo\n"),
        "suite": lambda bench: bench.kit.update({"suites/suite.py": "1"}),
        "harness": lambda bench: bench.kit.update({"suites/harness.py": "1"}),
        "expected": lambda bench: bench.expect.append("sub"),
        "surroundings": lambda bench: setattr(bench, "around", "of another Triton, ptxas or variable"),
        "outside": lambda bench: bench.outside.write_text("another libm"),
        "outside-gone": lambda bench: bench.outside.unlink(),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_whatever_a_case_depends_on_has_it_tried_again(bench: Bench, change: tuple[str, Change]) -> None:
    bench.keep()
    assert bench.taken()
    from retread.smoke.runtime import ledger

    ledger._content.cache_clear()
    change[1](bench)
    assert not bench.taken()
    bench.keep()
    assert bench.taken()


@pytest.mark.parametrize("name", ["demo/unrelated.py", f"{INFO}/RECORD", f"{INFO}/retread.json"])
def test_what_it_did_not_read_has_nothing_tried_again_but_counts_for_who_read_it(
    bench: Bench, name: str
) -> None:
    bench.keep()
    member(name, "of another wheel")(bench)
    assert bench.taken()
    bench.keep(files=frozenset({str(bench.root / "test" / "site" / name)}))
    assert bench.taken()
    member(name, "of a third wheel")(bench)
    assert not bench.taken()


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, True),
        ({"blind": "it forks"}, False),
        ({"programs": frozenset({"no such program"})}, False),
        ({"programs": frozenset({"sh"})}, True),
    ],
)
def test_only_what_all_is_known_of_is_kept(bench: Bench, more: dict[str, Any], kept: bool) -> None:
    assert bool(bench.keep(**more)) == kept


def test_a_program_of_which_nobody_knows_what_it_reads_depends_on_the_whole_wheel(bench: Bench) -> None:
    assert bench.keep(programs=frozenset({"sh"}))
    member("demo/unrelated.py", "x = 1")(bench)
    assert not bench.taken()


def test_a_process_that_says_nothing_of_what_it_read_keeps_nothing(bench: Bench) -> None:
    ledger = bench.ledger()
    ledger.keep(CASE, RESULT, FRESH.more(None))
    assert ledger.kept == {}


def test_what_failed_is_tried_every_time_and_cold_takes_nothing_but_keeps(bench: Bench) -> None:
    assert bench.keep({**RESULT, "outcome": "failed"}) == {}
    bench.keep()
    cold = bench.ledger(cold=True)
    assert cold.take(CASE) is None
    assert cold.seconds("suite") == {"triton/sm_90/add": 2.5}
    cold.keep(CASE, RESULT, bench.reads())
    assert cold.kept


@pytest.mark.parametrize("damage", ["changed", "cut", "of another case"])
def test_a_damaged_record_is_refused_and_named(bench: Bench, damage: str) -> None:
    record = bench.keep()[CASE]
    if damage == "changed":
        record["result"] = {**RESULT, "numbers": {"cubin": 0}}
    elif damage == "cut":
        del record["members"]
    else:
        record["case"] = "suite:other"
        record["digest"] = digest(record)
    bench.known = {CASE: [record]}
    ledger = bench.ledger()
    assert ledger.take(CASE) is None
    assert ledger.refused == [CASE]


def test_without_a_file_nothing_is_known_and_nothing_kept(bench: Bench) -> None:
    ledger = Ledger("", SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    assert not ledger
    ledger.keep(CASE, RESULT, bench.reads())
    assert (ledger.take(CASE), ledger.kept) == (None, {})
