"""An index on disk: what is refused and why, what is listed, and that every promise can be checked from the bytes."""

from __future__ import annotations

import _ctypes
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from retread.arch import Arch
from retread.audit.report import AuditReport
from retread.doors import fs
from retread.errors import GateError, PublishError, RetreadError, StoreError
from retread.evidence import gate
from retread.index import actions, candidate, layout
from retread.index.folder import Index
from retread.records import Sha256
from retread.smoke import reading
from retread.wheel import ziparchive
from retread.wheel.statement import FileStatement, Proof, Statement, SubmoduleStatement, ToolchainStatement
from tinycuda import record, sha256, zip_bytes
from tinyindex import BASE, NOW, Shelf, digest, make_keys, make_wheel, prove, tree

NINE = Proof(gpu=(Arch("9.0"),), triton=("3.5.1",))


@pytest.fixture
def shelf(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path, make_keys(tmp_path_factory.getbasetemp() / "keys"))


def refused(shelf: Shelf, *wheels: Path, kind: type[RetreadError] = PublishError, **changes: Any) -> str:
    """Publish, and check that it is refused and that nothing of the index changes."""
    before = tree(shelf.root)
    with pytest.raises(kind) as caught:
        shelf.publish(*wheels, **changes)
    assert type(caught.value) is kind
    assert {**tree(shelf.root), ".retread/lock": ""} == {**before, ".retread/lock": ""}
    return str(caught.value)


# What is listed.


def test_a_proven_wheel_is_listed_with_all_that_is_known_of_it(shelf: Shelf) -> None:
    wheel = shelf.wheel()
    done = shelf.publish(wheel)
    [hosted] = done.listed
    assert (hosted.version, hosted.cuda, hosted.torch, hosted.lane) == (
        "1.2+cu128.1",
        "12.8",
        ">=2.8",
        "overlay",
    )
    assert (hosted.requires_python, hosted.triton, hosted.unproven) == (">=3.9", ("3.5.1",), "")
    assert [(one.level, one.passed) for one in hosted.tried] == [("jit", 2), ("static", 2)]
    [entry] = shelf.page()["files"]
    assert entry["url"].startswith("../../../files/")
    file = shelf.root / entry["url"].removeprefix("../../../").replace("%2B", "+")
    assert file.read_bytes() == wheel.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    beside = {path.name.removeprefix(wheel.name) for path in file.parent.iterdir()}
    assert beside == {
        "", ".metadata", ".provenance.dsse.json", ".smoke-static-jit.json",
        ".test-jit.dsse.json", ".test-static.dsse.json",
    }  # fmt: skip
    found = shelf.check()
    assert found.faults == ()
    assert (found.actions, found.projects, found.files, found.size) == (1, 1, 1, wheel.stat().st_size)
    assert (shelf.root / "index.html").is_file()
    assert (shelf.root / "cu128" / "index.html").is_file()


def test_channels_own_every_name_of_the_index(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel(), shelf.wheel("other"))
    shelf.publish(shelf.wheel("demo", "1.2+cu130.1"))
    assert shelf.listed("demo", "cu130") == ["1.2+cu130.1"]
    assert shelf.listed("other", "cu130") == []
    shelf.publish(shelf.wheel("third", "2.0+cu130.1"))
    assert shelf.listed("third", "cu128") == []
    assert {one["name"] for one in _root(shelf, "cu128")} == {"demo", "other", "third"}
    assert shelf.check().faults == ()


def _root(shelf: Shelf, channel: str) -> list[dict[str, str]]:
    import json

    found = json.loads((shelf.root / channel / "simple" / "index.json").read_bytes())
    return list(found["projects"])


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, shelf: Shelf) -> None:
    other = Shelf(tmp_path / "other", shelf.keys)
    wheels = [shelf.wheel(), shelf.wheel("other")]
    shelf.publish(*wheels)
    other.publish(*reversed(wheels))
    assert tree(shelf.root) == tree(other.root)


def test_the_same_bytes_again_are_nothing_to_do_and_said_so(shelf: Shelf) -> None:
    wheel = shelf.wheel()
    shelf.publish(wheel)
    before = shelf.tree()
    done = shelf.publish(wheel)
    assert (done.action, done.known) == (None, (wheel.name,))
    assert shelf.said == [f"{wheel.name}: listed already, with the same bytes"]
    assert shelf.tree() == before


def test_a_wrong_clock_never_turns_uploads_back(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel(), now=NOW + 10_000)
    shelf.publish(shelf.wheel("demo", "1.2+cu128.2", patches=("b",)), now=NOW)
    shelf.publish(shelf.wheel("other"), now=NOW)
    times = {one["filename"].split("-")[1]: one["upload-time"] for one in shelf.page()["files"]}
    assert times["1.2+cu128.2"] > times["1.2+cu128.1"]
    assert times["1.2+cu128.2"].endswith(".000001Z")
    assert shelf.page("other")["files"][0]["upload-time"] == "2025-11-22T10:00:00.000000Z"
    assert shelf.check().faults == ()


# What is refused.


@pytest.mark.parametrize("unproven", ["", "please"])
def test_a_library_of_another_machine_than_the_tags_is_not_listed(shelf: Shelf, unproven: str) -> None:
    wheel = shelf.wheel(
        tag="py3-none-manylinux_2_34_aarch64",
        members={"demo/_C.so": Path(_ctypes.__file__).read_bytes()},
    )
    told = refused(shelf, wheel, unproven=unproven)
    assert (
        f"{wheel.name}: demo/_C.so loads on no machine of its tags: it is for x86_64, tags manylinux" in told
    )


def test_one_bad_wheel_keeps_every_other_out_and_every_fault_is_told(shelf: Shelf) -> None:
    broken = shelf.wheel("broken", prove_it=False)
    broken.write_bytes(broken.read_bytes()[:-10])
    lying = shelf.wheel("lying", changes={"lying/__init__.py": b"other\n"}, prove_it=False)
    local = shelf.wheel("local", "1.0", prove_it=False)
    told = refused(shelf, shelf.wheel(), broken, lying, local, shelf.folder / "gone.whl")
    for words in ("broken-1.2", "lying/__init__.py", "local-1.0-py3-none-any.whl: version 1.0 belongs to no channel",
                  "1.2+cu128.1", "gone.whl: there is no such file"):  # fmt: skip
        assert words in told
    assert not shelf.root.exists()


def test_a_name_is_never_used_for_other_bytes_not_even_after_removal(shelf: Shelf) -> None:
    wheel = shelf.wheel()
    shelf.publish(wheel)
    shelf.publish(shelf.wheel("demo", "1.2+cu128.2", patches=("b",)))
    first = wheel.read_bytes()
    wheel.unlink()
    told = refused(shelf, shelf.wheel(code="x = 1\n"))
    assert f"bound to other bytes for ever (sha256 {sha256(first)})" in told
    shelf.act(actions.remove, "demo", "1.2+cu128.1", "it leaks")
    assert "bound to other bytes" in refused(shelf, wheel)
    wheel.unlink()
    wheel.write_bytes(first)
    shelf.publish(prove(wheel, shelf.keys))  # the very same bytes may come back
    assert shelf.listed() == ["1.2+cu128.1", "1.2+cu128.2"]
    assert shelf.check().faults == ()


SPELLINGS = [
    ("demo-1.2+cu128.1-1-py3-none-any.whl", "it has the build tag 1; its normal name is {normal}"),
    ("Demo-1.2+cu128.1-py3-none-any.whl", "its name is not spelled normally: {normal}"),
    ("demo-1.2+CU128.1-py3-none-any.whl", "its name is not spelled normally: {normal}"),
    ("demo-1.2+cu128_1-py3-none-any.whl", "its name is not spelled normally: {normal}"),
    ("demo-v1.2+cu128.1-py3-none-any.whl", "its name is not spelled normally: {normal}"),
    ("demo-1.2+cu128.01-py3-none-any.whl", "its name is not spelled normally: {normal}"),
    ("demo-01.2+cu128.1-py3-none-any.whl", "its name is not spelled normally: {normal}"),
    ("demo-1.2+cu128.1-py3.py3-none-any.whl", "its name is not spelled normally: {normal}"),
]


@pytest.mark.parametrize(("file", "words"), SPELLINGS, ids=[file for file, _ in SPELLINGS])
def test_a_version_is_not_published_again_by_another_spelling(shelf: Shelf, file: str, words: str) -> None:
    first = shelf.wheel()
    shelf.publish(first)
    build = "1" if file.count("-") == 5 else ""
    made = make_wheel(shelf.folder / "again", "demo", "1.2+cu128.1", code="x = 1\n", build=build)
    wheel = prove(made.rename(made.with_name(file)), shelf.keys)
    assert f"{file}: {words.format(normal=first.name)}" in refused(shelf, wheel)
    assert f"{file}: {words.format(normal=first.name)}" in refused(shelf, wheel, unproven="please")


def test_the_order_of_tags_makes_no_other_wheel(shelf: Shelf) -> None:
    first = shelf.wheel(tag="py2.py3-none-any")
    other = shelf.wheel(tag="py3.py2-none-any", code="x = 1\n")
    told = f"{other.name}: {first.name} is the same wheel, its tags in another order: publish it as that"
    assert told in refused(shelf, first, other)
    shelf.publish(first)
    assert told in refused(shelf, other)
    shelf.act(actions.remove, "demo", "1.2+cu128.1", "it leaks")
    assert told in refused(shelf, other)
    assert shelf.check().faults == ()
    many = shelf.wheel(tag="py3.py31.py32.py33.py34.py35.py36.py37-none-any")
    assert "has too many tags in one part of its name" in refused(shelf, many)


@pytest.mark.parametrize("name", ["z02-version-5000-digits", "z03-tag-explosion"])
def test_a_wheel_that_says_too_much_of_itself_is_refused_at_once(shelf: Shelf, name: str) -> None:
    tags = "-".join(3 * [".".join(f"a{one}" for one in range(300))])
    said = {
        "z02-version-5000-digits": {
            "METADATA": f"Metadata-Version: 2.1\nName: demo\nVersion: {5000 * '9'}\n"
        },
        "z03-tag-explosion": {"WHEEL": f"Wheel-Version: 1.0\nTag: {tags}"},
    }[name]
    info = "demo-1.2+cu128.1.dist-info"
    wheel = shelf.wheel(
        prove_it=False, changes={f"{info}/{file}": f"{text}\n\n".encode() for file, text in said.items()}
    )
    told = refused(shelf, wheel)
    assert f"{wheel.name}: " in told
    assert "is not a version (PEP 440)" in told or "more than 4,096" in told
    assert len(told) < 1000


@pytest.mark.parametrize(
    ("version", "patches", "words"),
    [
        ("1.2+cu128.2", ("a", "b"), "revision 3 of 1.2 is published already: use revision 4"),
        ("1.2+cu128.4", ("a",), "revision 3 has the same patches, commit, lane and architectures"),
        ("1.2+cu128.4", ("b",), ""),
        ("1.2+cu130.1", ("a",), ""),
        ("1.3+cu128.1", ("a",), ""),
    ],
)
def test_revisions_rise_and_differ(shelf: Shelf, version: str, patches: tuple[str, ...], words: str) -> None:
    shelf.publish(shelf.wheel("demo", "1.2+cu128.3"))
    shelf.act(actions.remove, "demo", "1.2+cu128.3", "what was published stays bound")
    wheel = shelf.wheel("demo", version, patches=patches)
    if words:
        assert words in refused(shelf, wheel)
    else:
        shelf.publish(wheel)
    assert shelf.check().faults == ()


def test_a_version_is_bound_to_its_patches_over_all_its_wheels(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel(tag="py3-none-any"))
    told = refused(shelf, shelf.wheel(tag="py2-none-any", patches=("b",)))
    assert "1.2+cu128.1 is bound to another series: use revision 2" in told
    wheel = shelf.wheel(
        tag="py2-none-any", said=lambda one: structs.replace(one, commit=40 * "d", lane="source")
    )
    assert "bound to another commit and lane" in refused(shelf, wheel)
    (shelf.folder / "dist" / wheel.name).unlink()
    shelf.publish(shelf.wheel(tag="py2-none-any"))
    assert len(shelf.page()["files"]) == 2


def test_revisions_are_judged_within_one_publish_too(shelf: Shelf) -> None:
    first, second = shelf.wheel(), shelf.wheel("demo", "1.2+cu128.2")
    assert "revision 1 has the same patches" in refused(shelf, second, first)


def test_evidence_is_demanded(shelf: Shelf) -> None:
    wheel = shelf.wheel(prove_it=False)
    told = refused(shelf, wheel, kind=GateError)
    assert "no builder states how it was built" in told
    assert "no static test result" in told
    prove(wheel, shelf.keys)
    told = refused(shelf, wheel, kind=GateError, wants=lambda _: NINE)
    assert "no gpu test result of a GPU of capability 9.0" in told
    assert "no policy says whose evidence counts" in refused(shelf, wheel, kind=GateError, policy=None)
    shelf.publish(wheel)


def promising(proof: Proof) -> Any:
    def said(one: Statement) -> Statement:
        return structs.replace(one, promise=structs.replace(one.promise, proof=proof))

    return said


def test_a_wheel_says_itself_what_it_has_to_be_proven_by(shelf: Shelf) -> None:
    def nobody(_: Statement) -> Proof:
        raise AssertionError("the recipe is asked")

    wheel = shelf.wheel(said=promising(NINE))
    told = refused(shelf, wheel, kind=GateError, wants=nobody)
    assert "no gpu test result of a GPU of capability 9.0" in told
    prove(wheel, shelf.keys, levels=("static", "jit", "gpu"))
    shelf.publish(wheel, wants=nobody)
    assert shelf.check().faults == ()
    home = next(shelf.root.glob("files/*/*"))
    (home / f"{wheel.name}.test-gpu.dsse.json").unlink()
    faults = shelf.check().faults
    assert any("no gpu test result of a GPU of capability 9.0" in fault for fault in faults), faults


@pytest.mark.parametrize("proof", [Proof(gpu=(), triton=("newest",)), Proof(gpu=(Arch("nine"),), triton=())])
def test_a_wheel_that_demands_what_nothing_can_be_is_not_sound(shelf: Shelf, proof: Proof) -> None:
    assert "retread.json is not retread's: " in refused(shelf, shelf.wheel(said=promising(proof)))


def test_evidence_of_other_bytes_or_edited_is_no_evidence(shelf: Shelf) -> None:
    wheel = shelf.wheel()
    report = next(wheel.parent.glob("*.smoke-*.json"))
    text = report.read_text()
    report.write_text(text.replace('"passed"', '"skipped"', 1))
    assert "edited or damaged" in refused(shelf, wheel)
    report.write_text(text)
    wheel.with_name(f"{wheel.name}.audit.json").write_text("{}")
    for unproven in ("", "please"):
        assert "is not an audit's report" in refused(shelf, wheel, kind=GateError, unproven=unproven)
    wheel.with_name(f"{wheel.name}.audit.json").unlink()
    wheel.unlink()
    shelf.wheel(prove_it=False, code="x = 1\n")
    told = refused(shelf, wheel, kind=GateError)
    assert "is a report of another" in told
    assert "is about another wheel" in told


def test_an_audit_that_waives_what_the_wheel_does_not_is_refused(shelf: Shelf) -> None:
    wheel = shelf.wheel()
    audit = wheel.with_name(f"{wheel.name}.audit.json")
    audit.write_text(json.dumps(json.loads(_audit(wheel)) | {"waived": {"glibc": "never mind"}}))
    words = f"waived rules: retread.json (promise) says nothing, {audit.name} says glibc (never mind)"
    assert words in refused(shelf, wheel, kind=GateError)


ELSEWHERE: list[tuple[str, dict[str, Any], str]] = [
    ("recipe", {"recipe": "demo-0"}, "upstream version: the file name says 1.2, {it}: recipe demo-0 says 0"),
    ("recipe", {"recipe": "their-demo"}, "recipe: retread.json says demo-1, {it} says their-demo"),
    ("target", {"target": "cu124"}, "channel: the file name says cu128, {it}: target cu124 says cu124"),
    ("lane", {"lane": "source"}, "lane: retread.json says overlay, {it} says source"),
    ("commit", {"commit": 40 * "d"}, f"commit: retread.json says {40 * 'c'}, {{it}} says {40 * 'd'}"),
    ("series", {"series": ()},
     "sources: retread.json says a.patch, demo-1.2-py3-none-any.whl, demo.tar.gz, the commit, {it} says demo-1.2"),
    ("base", {"base": FileStatement(file="demo-1.2-py3-none-any.whl", sha256=Sha256(64 * "9"))},
     f"source demo-1.2-py3-none-any.whl: retread.json says {digest('base')}, {{it}} says {64 * '9'}"),
    ("toolchain", {"toolchain": ToolchainStatement(name="x", cuda="12.8", ptxas="y", reproduced=None)},
     "toolchain: retread.json says nothing, {it} says there"),
    ("submodules", {"submodules": (SubmoduleStatement(path="lib", repository="https://a.example", commit=40 * "e"),)},
     "{it} says a.patch, demo-1.2-py3-none-any.whl, demo.tar.gz, lib, the commit"),
    ("tool", {"tool": "retread 9"}, "tool: retread.json says retread 0.1.0, {it} says retread 9"),
]  # fmt: skip
"""What a builder signed and the wheel does not say -> what is told of it; ``it`` is the envelope."""


@pytest.mark.parametrize(("_", "changes", "words"), ELSEWHERE, ids=[one[0] for one in ELSEWHERE])
def test_what_a_builder_signed_is_what_the_wheel_says(
    shelf: Shelf, _: str, changes: dict[str, Any], words: str
) -> None:
    def signed(one: Statement) -> Statement:
        return structs.replace(one, **changes)

    wheel = shelf.wheel(prove_it=False)
    prove(wheel, shelf.keys, signed=signed)
    told = refused(shelf, wheel, kind=GateError)
    assert words.format(it=f"{wheel.name}.provenance.dsse.json") in told
    shelf.publish(prove(wheel, shelf.keys))
    home = next(shelf.root.glob("files/*/*"))
    home.chmod(0o755)
    prove(home / wheel.name, shelf.keys, signed=signed)  # who has only the builder's key and the disk
    for policy in (shelf.keys.policy, None):
        assert any(
            words.format(it=f"{wheel.name}.provenance.dsse.json") in one for one in shelf.check(policy).faults
        )


def test_a_builder_signed_the_very_file_that_says_it(shelf: Shelf) -> None:
    wheel = prove(shelf.wheel(prove_it=False), shelf.keys, inside=digest("another retread.json"))
    told = refused(shelf, wheel, kind=GateError)
    assert "digest of retread.json: the wheel says " in told
    assert f"{wheel.name}.provenance.dsse.json says {digest('another retread.json')}" in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"project": "other"}, "project: the file name says demo, retread.json says other"),
        ({"version": "1.3+cu128.1"}, "version: the file name says 1.2+cu128.1, retread.json says 1.3+cu128.1"),
        ({"recipe": "demo-1.1.post3"},
         "upstream version: the file name says 1.2, retread.json: recipe demo-1.1.post3 says 1.1.post3"),
        ({"target": "cu130"}, "channel: the file name says cu128, retread.json: target cu130 says cu130"),
    ],
)  # fmt: skip
def test_a_wheel_says_of_itself_what_its_name_says(shelf: Shelf, changes: dict[str, Any], words: str) -> None:
    assert words in refused(
        shelf, shelf.wheel(said=lambda one: structs.replace(one, **changes)), kind=GateError
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "1.1+cu128.1"},
         "version: the file name says 1.2+cu128.1, retread.json (promise) says 1.1+cu128.1"),
        ({"cuda": "12.4"}, "channel: the file name says cu128, retread.json (promise): CUDA 12.4 says cu124"),
    ],
)  # fmt: skip
def test_a_promise_is_that_of_the_wheel(shelf: Shelf, changes: dict[str, Any], words: str) -> None:
    def said(one: Statement) -> Statement:
        return structs.replace(one, promise=structs.replace(one.promise, **changes))

    assert words in refused(shelf, shelf.wheel(said=said), kind=GateError)


@pytest.mark.parametrize("changes", [{"recipe": "easy"}, {"target": "cu124"}, {"version": "1.1+cu128.1"}])
def test_a_smoke_report_is_of_the_recipe_target_and_version_of_its_wheel(
    shelf: Shelf, changes: dict[str, str]
) -> None:
    wheel = shelf.wheel()
    path = next(wheel.parent.glob("*.smoke-*.json"))
    report = reading.parse(path.read_bytes(), name="x")
    path.write_bytes(reading.write(reading.sealed(structs.replace(report, **changes), report.runs)))
    told = refused(shelf, wheel, kind=GateError)
    assert f"{path.name} says {next(iter(changes.values()))}" in told


def test_who_writes_to_a_listed_wheel_in_its_old_folder_changes_nothing_of_the_index(shelf: Shelf) -> None:
    wheel = shelf.wheel()
    right, times = wheel.read_bytes(), wheel.stat()
    shelf.publish(wheel)
    before = shelf.tree()
    with wheel.open("r+b") as stream:  # in place, as whoever holds another link to it could
        stream.write(b"evil")
    os.utime(wheel, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert wheel.stat().st_size == len(right)
    assert shelf.tree() == before
    assert shelf.check().faults == ()
    assert next(shelf.root.glob(f"files/*/*/{wheel.name}")).read_bytes() == right
    assert list(shelf.scratch.iterdir()) == []


def test_a_wheel_that_is_written_while_it_is_judged_is_listed_as_it_was_judged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = shelf.wheel()
    right, judge = wheel.read_bytes(), gate.demand

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        with wheel.open("r+b") as stream:
            stream.write(b"evil")
        return judge(*arguments, **named)

    monkeypatch.setattr(gate, "demand", meanwhile)
    shelf.publish(wheel)
    assert next(shelf.root.glob(f"files/*/*/{wheel.name}")).read_bytes() == right
    assert shelf.check().faults == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "is evidence by its name, but no plain file"),
        (lambda path: path.symlink_to("/dev/zero"), "is evidence by its name, but no plain file"),
        (lambda path: path.mkdir(), "is evidence by its name, but no plain file"),
        (lambda path: path.symlink_to("elsewhere"), "is evidence by its name, but no plain file"),
        (
            lambda path: (path.touch(), os.truncate(path, 17 << 20)),
            "is larger than any evidence: over 16 MiB",
        ),
    ],
    ids=["pipe", "device", "folder", "link", "large"],
)
@pytest.mark.parametrize("ending", [".x.dsse.json", ".audit.json", ".smoke-gpu.json"])
def test_what_lies_beside_a_wheel_is_a_plain_file_of_a_sensible_size(
    shelf: Shelf, ending: str, make: Any, words: str
) -> None:
    wheel = shelf.wheel()
    path = wheel.with_name(f"{wheel.name}{ending}")
    make(path)
    assert f"{path} {words}" in refused(shelf, wheel)
    assert f"{path} {words}" in refused(shelf, wheel, unproven="please")
    assert list(shelf.scratch.iterdir()) == []


@pytest.mark.parametrize("name", [b".a\nb.dsse.json", b".\xff.dsse.json", b".\x1b[2J.audit.json"])
def test_what_lies_beside_a_wheel_has_a_name_that_can_be_listed(shelf: Shelf, name: bytes) -> None:
    wheel = shelf.wheel()
    path = os.fsencode(wheel) + name
    with open(path, "wb"):  # noqa: PTH123 - a name that is no text
        pass
    told = refused(shelf, wheel)
    assert f"{os.fsdecode(os.path.basename(path))!a} is no name of evidence" in told  # noqa: PTH119
    assert told.isprintable() or set(told) - {"\n"} <= set(map(chr, range(32, 127)))


def test_a_wheel_that_is_no_plain_file_is_refused(shelf: Shelf) -> None:
    wheel = shelf.folder / "demo-1.2+cu128.1-py3-none-any.whl"
    os.mkfifo(wheel)
    assert f"{wheel} is no plain file" in refused(shelf, wheel)


def test_a_wheel_without_evidence_comes_in_for_a_reason_that_is_shown(shelf: Shelf) -> None:
    wheel = shelf.wheel(prove_it=False, said=None)
    assert "it has no statement" in refused(shelf, wheel, kind=GateError)
    [hosted] = shelf.publish(wheel, unproven="our own build, tried by hand").listed
    assert hosted.unproven == "our own build, tried by hand"
    assert b"our own build, tried by hand" in (shelf.root / "cu128/simple/demo/page.html").read_bytes()
    assert shelf.check().faults == ()
    policy = shelf.keys.policy._replace(allow_unproven=False)
    other = shelf.wheel("other", prove_it=False)
    assert "lets no wheel in without evidence" in refused(shelf, other, unproven="please", policy=policy)
    assert "a reason is one line" in refused(shelf, other, unproven="two\nlines")


# What else is done to an index.


def test_yank_and_unyank(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    shelf.act(actions.yank, "Demo", "1.2+cu128.1", "wrong results on sm_90")
    assert shelf.page()["files"][0]["yanked"] == "wrong results on sm_90"
    with pytest.raises(PublishError, match="yanked already"):
        shelf.act(actions.yank, "demo", "1.2+cu128.1", "wrong results on sm_90")
    assert shelf.check().faults == ()
    shelf.act(actions.unyank, "demo", "1.2+cu128.1")
    assert shelf.page()["files"][0]["yanked"] is False
    with pytest.raises(PublishError, match=r"demo 1.2\+cu128.7 is not listed\n.*listed are: 1.2\+cu128.1"):
        shelf.act(actions.yank, "demo", "1.2+cu128.7", "no such")
    with pytest.raises(PublishError, match=r"demo 1\.2 is not listed"):
        shelf.act(actions.yank, "demo", "1.2", "no such")
    assert shelf.check().faults == ()


def test_what_is_removed_is_gone_and_its_name_stays_owned(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    shelf.act(actions.remove, "demo", "1.2+cu128.1", "it leaks")
    assert shelf.page()["files"] == []
    assert not list((shelf.root / "files").glob("*/*"))
    assert shelf.check().faults == ()


def test_rollback_goes_back_and_forth_but_brings_nothing_back_that_was_removed(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    pages = {path: text for path, text in shelf.tree().items() if path.startswith("cu128/")}
    shelf.publish(shelf.wheel("demo", "1.2+cu128.2", patches=("b",)), shelf.wheel("other"))
    shelf.act(actions.rollback, 1)
    assert (shelf.listed(), shelf.listed("other")) == (["1.2+cu128.1"], [])
    assert pages["cu128/simple/demo"] != str((shelf.root / "cu128/simple/demo").readlink())
    assert shelf.check().faults == ()
    shelf.act(actions.rollback, 2)
    assert (shelf.listed(), shelf.listed("other")) == (["1.2+cu128.1", "1.2+cu128.2"], ["1.2+cu128.1"])
    shelf.act(actions.remove, "demo", "1.2+cu128.1", "it leaks")
    shelf.act(actions.rollback, 1)
    assert (shelf.listed(), shelf.listed("other")) == ([], [])
    shelf.act(actions.rollback, 2)
    assert (shelf.listed(), shelf.listed("other")) == (["1.2+cu128.2"], ["1.2+cu128.1"])
    assert any("was removed since, and stays removed" in line for line in shelf.said)
    shelf.act(actions.rollback, 0)
    assert (shelf.listed(), shelf.listed("other")) == ([], [])
    with pytest.raises(PublishError, match="there is no going back to action 99"):
        shelf.act(actions.rollback, 99)
    assert shelf.check().faults == ()
    did = [action.action for action in actions.history(shelf.root)]
    assert did == ["publish", "publish", "rollback", "rollback", "remove"] + 3 * ["rollback"]


def test_refresh_moves_the_index_to_another_address(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel(), shelf.wheel("other"))
    shelf.act(actions.refresh, base="https://moved.example")
    page = (shelf.root / "cu128/simple/demo/page.html").read_text()
    assert "https://moved.example" in page
    assert BASE not in page
    assert shelf.check().faults == ()


def test_what_is_no_index_is_told(shelf: Shelf) -> None:
    for action in (shelf.check, lambda: shelf.act(actions.yank, "demo", "1+cu128.1", "x")):
        with pytest.raises(PublishError, match="holds no index"):
            action()
    assert not shelf.root.exists()


# What a check finds.


def _first(shelf: Shelf, pattern: str) -> Path:
    return next(path for path in sorted(shelf.root.glob(pattern)) if path.is_file())


def _overwrite(path: Path, data: bytes) -> None:
    path.unlink()  # it may be a hard link to what was published
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("pattern", "damage", "words"),
    [
        ("files/*/*/*.whl", lambda path: _overwrite(path, path.read_bytes()[:-1]), "demo-1.2+cu128.1"),
        ("files/*/*/*.whl", lambda path: path.unlink(), "which is not there"),
        ("files/*/*/*.metadata", lambda path: _overwrite(path, b"Name: evil\n"), "is not its METADATA"),
        ("files/*/*/*provenance.dsse.json", lambda path: path.unlink(), "no builder states"),
        ("files/*/*/*.smoke*.json", lambda path: path.unlink(), "was published with it, and is missing"),
        (".retread/snapshots/*/cu128/demo/index.html", lambda path: _overwrite(path, b"<a href=x>"), "refresh"),
        (".retread/snapshots/*/cu128/demo/index.json", lambda path: _overwrite(path, b"{}"), "refresh"),
        (".retread/names/*/*", lambda path: _overwrite(path, b"0"), "not bound to its bytes"),
        (".retread/revisions/cu128/demo.json", lambda path: path.unlink(), "not noted as published"),
        ("cu128/simple/index.json", lambda path: path.unlink(), "cu128/simple/index.json is missing"),
        ("cu128/index.html", lambda path: _overwrite(path, b""), "cu128/index.html is not the page"),
        ("index.html", lambda path: _overwrite(path, b""), "index.html is not the page"),
        (".retread/history.jsonl", lambda path: path.write_bytes(path.read_bytes() * 2), "line 2 is action 1"),
        (".retread/lock", lambda path: (path.parent / "stray").write_text(""), "stray is not the index's"),
        ("files/*/*/*.whl", lambda path: (path.parents[1] / "stray").mkdir(), "stray is not the index's"),
    ],
)  # fmt: skip
def test_a_check_finds_what_is_broken(shelf: Shelf, pattern: str, damage: Any, words: str) -> None:
    shelf.publish(shelf.wheel())
    assert shelf.check().faults == ()
    damage(_first(shelf, pattern))
    faults = shelf.check().faults
    assert any(words in fault for fault in faults), faults


def test_a_check_finds_links_that_lead_elsewhere(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    shelf.publish(shelf.wheel("demo", "1.2+cu128.2", patches=("b",)))
    link = shelf.root / "cu128/simple/demo"
    link.unlink()
    link.symlink_to("../../.retread/snapshots/1/cu128/demo")
    assert any("does not lead to ../../.retread/snapshots/2" in one for one in shelf.check().faults)


# Disks that refuse, and two at once.


def test_what_is_in_the_way_is_named_before_anything_happens(shelf: Shelf) -> None:
    elsewhere = shelf.folder / "elsewhere"
    elsewhere.mkdir()
    shelf.root.mkdir()
    for place, words in ((".retread", "a link"), ("cu128/simple/demo", "a folder"), ("cu130", "a link")):
        path = shelf.root / place
        path.symlink_to(elsewhere) if words == "a link" else path.mkdir()
        before = tree(shelf.root)
        with pytest.raises(PublishError, match=rf"{place} is in the way: {words} that retread did not make"):
            shelf.publish(shelf.wheel(), shelf.wheel("demo", "1.2+cu130.1"))
        assert tree(shelf.root) == before
        assert not list(elsewhere.iterdir())
        path.unlink() if path.is_symlink() else path.rmdir()
        if place == ".retread":
            shelf.publish(shelf.wheel("other"))
    shelf.publish(shelf.wheel(), shelf.wheel("demo", "1.2+cu130.1"))
    assert shelf.check().faults == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_index(shelf: Shelf, small_disk: Path) -> None:
    shelf.root = small_disk / "index"
    shelf.publish(shelf.wheel())
    before = shelf.tree()
    (small_disk / "fill").write_bytes(b"x" * 150_000)
    noise = "\n".join(f"X{n} = '{sha256(str(n).encode())}'" for n in range(5000))
    with pytest.raises(
        StoreError, match=r"cannot write \S+: the disk is full\n  next: make room on the disk of the"
    ):
        shelf.publish(shelf.wheel("demo", "1.2+cu128.2", patches=("b",), code=noise))
    assert shelf.tree() == before
    assert shelf.check().faults == ()


def test_a_file_size_limit_is_one_message(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    before = shelf.tree()
    with pytest.raises(StoreError, match="larger than this process or disk may write"):
        _limited(lambda: shelf.publish(shelf.wheel("demo", "1.2+cu128.2", patches=("b",))))
    assert shelf.tree() == before
    assert shelf.check().faults == ()


def _limited(act: Any) -> None:
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, old[1]))
    try:
        act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_folder_that_may_not_be_written_is_named(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.publish(shelf.wheel())
    before = shelf.tree()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "simple" not in str(path) and access(path, mode))
    with pytest.raises(StoreError, match=r"cannot write \S+/cu128/simple: no permission"):
        shelf.publish(shelf.wheel("other"))
    monkeypatch.undo()
    assert shelf.tree() == before


def test_a_copy_that_is_not_what_was_judged_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = shelf.wheel()
    recover = Index._recover

    def late(self: Index) -> None:
        recover(self)
        [copy] = shelf.scratch.rglob(wheel.name)
        copy.write_bytes(copy.read_bytes() + b"more")

    monkeypatch.setattr(Index, "_recover", late)
    assert "was written while it was read" in refused(shelf, wheel)


def test_what_is_listed_of_the_evidence_is_what_was_judged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = shelf.wheel()
    wheel.with_name(f"{wheel.name}.audit.json").write_bytes(_audit(wheel))
    judged = {path.name: path.read_bytes() for path in wheel.parent.glob("*.json")}
    demand, recover = gate.demand, Index._recover

    def spoil(what: bytes) -> None:
        for name in judged:
            wheel.with_name(name).write_bytes(what)

    def judging(*arguments: Any, **more: Any) -> Any:
        spoil(b"while it is judged")
        return demand(*arguments, **more)

    def changed(self: Index) -> None:
        recover(self)
        spoil(b"before it is listed")

    monkeypatch.setattr(gate, "demand", judging)
    monkeypatch.setattr(Index, "_recover", changed)
    [hosted] = shelf.publish(wheel).listed
    monkeypatch.undo()
    home = (shelf.root / layout.place(hosted.file, hosted.sha256)).parent
    assert {path.name: path.read_bytes() for path in home.glob("*.json")} == judged
    assert set(hosted.sidecars) == set(judged)
    assert shelf.check().faults == ()


def test_the_wheel_and_each_file_beside_it_are_opened_once_to_be_judged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = shelf.wheel()
    opened: list[str] = []

    def noted(door: Any) -> Any:
        def through(path: Path) -> Any:
            opened.append(path.name)
            return door(path)

        return through

    monkeypatch.setattr(ziparchive, "_open", noted(ziparchive._open))
    monkeypatch.setattr(fs, "plain", noted(fs.plain))
    candidate.read(wheel, shelf.scratch)
    assert sorted(opened) == sorted(path.name for path in wheel.parent.iterdir())


def _audit(wheel: Path, target: str = "demo-1 cu128") -> bytes:
    """Return an audit's report, as no retread writes it but anybody may."""
    report = AuditReport(
        schema=1,
        wheel=wheel.name,
        sha256=Sha256(sha256(wheel.read_bytes())),
        size=1,
        target=target,
        ok=True,
        checks=(),
    )
    return msgspec.json.encode(dict(reversed(msgspec.to_builtins(report).items())))


def _with_audit(shelf: Shelf, target: str = "demo-1 cu128") -> Path:
    """Return a wheel with its evidence, of which nobody signed the audit."""
    wheel = shelf.wheel()
    wheel.with_name(f"{wheel.name}.audit.json").write_bytes(_audit(wheel, target))
    return wheel


def _exchange(shelf: Shelf, wheel: Path) -> str:
    """Put another sound audit in the place of the one in the index; return the name of the file."""
    path = _first(shelf, "files/*/*/*.audit.json")
    _overwrite(path, _audit(wheel, "elsewhere"))
    return path.name


def _of_an_older_retread(shelf: Shelf) -> None:
    """Let the models be as a retread wrote them that noted no digests of what lies beside a wheel."""
    for path in shelf.root.glob(".retread/snapshots/*/*/*.json"):
        model = json.loads(path.read_bytes())
        for file in model["files"]:
            file.pop("evidence", None)
        path.write_bytes(msgspec.json.encode(model))


def test_an_unsigned_file_beside_a_wheel_is_exchanged_for_no_other(shelf: Shelf) -> None:
    """It is as sound as the one that was published, so that nothing but its digest tells."""
    wheel = _with_audit(shelf)
    [hosted] = shelf.publish(wheel).listed
    there = {path.name: sha256(path.read_bytes()) for path in wheel.parent.glob(f"{wheel.name}.*")}
    assert hosted.evidence == there
    assert {*hosted.sidecars} == {*there}
    assert shelf.check().faults == ()
    name = _exchange(shelf, wheel)
    told = f"cu128/demo: {wheel.name}: {name} has other bytes than were published with it"
    assert shelf.check().faults == shelf.check(None).faults == (told,)


def test_other_evidence_beside_a_listed_wheel_is_told_and_not_taken(shelf: Shelf) -> None:
    wheel = _with_audit(shelf)
    shelf.publish(wheel)
    same, before = f"{wheel.name}: listed already, with the same bytes", shelf.tree()
    audit = wheel.with_name(f"{wheel.name}.audit.json")
    shelf.publish(wheel)
    assert shelf.said == [same]
    audit.write_bytes(_audit(wheel, "elsewhere"))
    shelf.publish(wheel)
    assert shelf.said[1] == same
    assert "is not the evidence that was published with it, and was not taken" in shelf.said[2]
    assert shelf.tree() == before
    audit.unlink()
    shelf.publish(wheel)
    assert shelf.said[3:] == [same], "nothing else lies there"


def test_a_wheel_without_evidence_notes_none(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel(prove_it=False), unproven="a test")
    assert (
        "evidence" not in json.loads(_first(shelf, ".retread/snapshots/*/*/*.json").read_bytes())["files"][0]
    )
    assert shelf.check().faults == ()


def test_an_index_without_digests_stays_sound_until_a_refresh_notes_them(shelf: Shelf) -> None:
    wheel = _with_audit(shelf)
    shelf.publish(wheel)
    _of_an_older_retread(shelf)
    pages = {name: text for name, text in shelf.tree().items() if name.startswith(("files/", "index.html"))}
    served = (shelf.root / "cu128/simple/demo/index.json").read_bytes()
    assert shelf.check().faults == ()
    shelf.act(actions.yank, "demo", "1.2+cu128.1", "slow")
    shelf.act(actions.rollback, 1)
    assert shelf.check().faults == ()
    shelf.act(actions.refresh)
    assert shelf.check().faults == ()
    assert {name: shelf.tree()[name] for name in pages} == pages
    assert (shelf.root / "cu128/simple/demo/index.json").read_bytes() == served
    shelf.act(actions.yank, "demo", "1.2+cu128.1", "slow")
    shelf.act(actions.rollback, 1)
    assert shelf.page()["files"][0]["yanked"] is False
    name = _exchange(shelf, wheel)
    assert [name in fault for fault in shelf.check().faults] == [True], "what was noted once, stays noted"


def test_a_refresh_notes_nothing_of_what_is_gone(shelf: Shelf) -> None:
    shelf.publish(_with_audit(shelf))
    _of_an_older_retread(shelf)
    _first(shelf, "files/*/*/*.audit.json").unlink()
    shelf.act(actions.refresh)
    assert [fault.endswith("missing") for fault in shelf.check().faults] == [True]


def _linked(path: Path) -> None:
    """Put a link to the same bytes in the place of a file."""
    aside = path.parents[4] / path.name
    path.rename(aside)
    path.symlink_to(aside)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: _overwrite(path, b"{}"), "is not an audit's report"),
        (
            lambda path: _overwrite(path, path.read_bytes().replace(b'"sha256":"', b'"sha256":"f')[:-1]),
            "audit",
        ),
        (lambda path: os.truncate(path, 17 << 20), "is larger than any evidence: over 16 MiB"),
        (_linked, "is evidence by its name, but no plain file"),
        (lambda path: (path.unlink(), path.mkdir()), "is evidence by its name, but no plain file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is evidence by its name, but no plain file"),
    ],
    ids=["broken", "cut", "large", "link", "folder", "pipe"],
)
def test_a_refresh_names_what_is_not_sound_and_notes_the_rest(shelf: Shelf, damage: Any, words: str) -> None:
    wheel = _with_audit(shelf)
    [hosted] = shelf.publish(wheel).listed
    _of_an_older_retread(shelf)
    path = _first(shelf, "files/*/*/*.audit.json")
    right = path.read_bytes()
    damage(path)
    shelf.said.clear()
    shelf.act(actions.refresh)
    [told] = shelf.said
    assert told.startswith(f"note: not noted: {path.relative_to(shelf.root)} "), told
    assert words in told
    assert any(path.name in fault for fault in shelf.check().faults)
    path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(right)
    assert shelf.check().faults == (), "the right file is not held to be another"
    shelf.said.clear()
    shelf.act(actions.refresh)
    assert shelf.said == []
    _overwrite(path, _audit(wheel, "elsewhere"))
    assert [path.name in fault for fault in shelf.check().faults] == [True], "now it is noted, too"
    model = json.loads((shelf.root / ".retread/state/cu128/demo.json").read_bytes())
    assert model["files"][0]["evidence"] == hosted.evidence


def test_a_refresh_notes_no_envelope_of_another_wheel(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    _of_an_older_retread(shelf)
    other = shelf.wheel("demo", "1.2+cu128.2", patches=("b",))
    path = _first(shelf, "files/*/*/*.provenance.dsse.json")
    _overwrite(path, other.with_name(f"{other.name}.provenance.dsse.json").read_bytes())
    shelf.act(actions.refresh)
    [told] = [one for one in shelf.said if one.startswith("note: not noted: ")]
    assert f"{path.name} is about another wheel" in told


@pytest.mark.parametrize("ending", ["", ".metadata", ".audit.json"])
def test_a_check_names_a_link_in_the_place_of_a_file(shelf: Shelf, ending: str) -> None:
    wheel = _with_audit(shelf)
    shelf.publish(wheel)
    path = _first(shelf, f"files/*/*/{wheel.name}{ending}")
    _linked(path)
    [told] = shelf.check().faults
    assert path.name in told
    assert "no plain file" in told or "is a link" in told


@pytest.mark.parametrize("place", ["files", "files/*", "files/*/*"])
def test_a_check_names_a_link_in_the_place_of_a_folder(shelf: Shelf, place: str) -> None:
    shelf.publish(shelf.wheel())
    [home] = shelf.root.glob("files/*/*")
    [folder] = shelf.root.glob(place)
    folder.rename(shelf.folder / "aside")
    folder.symlink_to(shelf.folder / "aside")
    [told] = shelf.check().faults
    assert told.startswith(f"{home.relative_to(shelf.root)} is a link, or lies behind one")


def test_a_check_names_a_link_in_the_place_of_a_page(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    page = shelf.root / "cu128" / "index.html"
    page.rename(shelf.folder / "page")
    page.symlink_to(shelf.folder / "page")
    assert shelf.check().faults == ("cu128/index.html is a link: what an index serves are plain files",)


@pytest.mark.parametrize("listed", [True, False])
def test_a_wheel_that_came_back_has_the_evidence_that_came_with_it(shelf: Shelf, listed: bool) -> None:
    """Going back to the first publish, the second's audit lies beside the wheel."""
    shelf.publish(_with_audit(shelf))
    shelf.act(actions.rollback, 0)
    shelf.publish(_with_audit(shelf, "another"))
    shelf.act(actions.yank, "demo", "1.2+cu128.1", "slow") if listed else shelf.act(actions.rollback, 0)
    shelf.act(actions.rollback, 1)
    assert shelf.listed() == ["1.2+cu128.1"]
    assert shelf.page()["files"][0]["yanked"] is False
    assert shelf.check().faults == ()


def test_a_report_of_other_bytes_is_let_in_for_no_reason(shelf: Shelf) -> None:
    wheel = shelf.wheel(code="x = 1\n")
    wheel.unlink()
    wheel = shelf.wheel(prove_it=False)
    told = refused(shelf, wheel, kind=GateError, unproven="the lab is closed")
    assert "is a report of another" in told


def test_a_second_publisher_waits_and_says_so(shelf: Shelf) -> None:
    shelf.publish(shelf.wheel())
    other = shelf.wheel("other")
    with (shelf.root / ".retread" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=shelf.publish, args=(other,))
        thread.start()
        while not shelf.said and thread.is_alive():
            time.sleep(0.01)
        assert shelf.said == [f"waiting for another process that changes {shelf.root}"]
        assert shelf.listed() == ["1.2+cu128.1"]
        assert not (shelf.root / "cu128/simple/other").exists()
    thread.join()
    assert shelf.listed("other") == ["1.2+cu128.1"]


PUBLISH = """
import sys
from pathlib import Path
from retread.index.actions import Session, publish
from retread.index.admission import Terms
wheel = Path(sys.argv[2])
scratch = wheel.parent / f"scratch-{wheel.name}"
scratch.mkdir()
session = Session(Path(sys.argv[1]), 1763805600, print, "https://wheels.example")
publish(session, [wheel], Terms(None, "a test"), scratch)
"""


def test_many_publishers_at_once_all_succeed(shelf: Shelf) -> None:
    wheels = [shelf.wheel(f"demo-{number % 3}", f"1.{number}+cu128.1", prove_it=False) for number in range(6)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISH, str(shelf.root), str(wheel)], stdout=subprocess.DEVNULL
        )
        for wheel in wheels
    ]
    assert [process.wait(60) for process in running] == [0] * 6
    found = shelf.check()
    assert found.faults == ()
    assert (found.actions, found.projects, found.files) == (6, 3, 6)


def test_a_wheel_that_installers_refuse_is_refused(shelf: Shelf) -> None:
    wheel, info = shelf.wheel(prove_it=False), "demo-1.2+cu128.1.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}
    files["x.dist-info"] = b""
    wheel.write_bytes(zip_bytes(files | {f"{info}/RECORD": record(files, info)}))
    assert "x.dist-info: is a file, where installers look for a folder" in refused(
        shelf, wheel, unproven="a test"
    )


@pytest.mark.parametrize("now", [-86_400, 4_102_444_800], ids=["1969", "2100"])
def test_a_clock_of_another_age_breaks_nothing(shelf: Shelf, now: int) -> None:
    shelf.now = now
    shelf.publish(shelf.wheel())
    shelf.now = NOW
    shelf.act(actions.yank, "demo", "1.2+cu128.1", "its time has come")
    assert not shelf.check(shelf.keys.policy).faults
    times = [action.time for action in actions.history(shelf.root)]
    assert times == sorted(times), "a clock that was set back makes no action older than the one before"
