from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from retread.errors import PublishError, RevokedError
from retread.index import revocations as revocation
from retread.index.listing import Hosted
from retread.index.revocations import Entry, Finding, Listed, Revocations
from retread.lockfile import readers
from retread.lockfile.pin import Locked
from retread.lockfile.readers import Installed

LOCKS = Path(__file__).parents[2] / "data" / "locks"
X86 = "3b863a796b4f20ada1458b1255c7b0aa05f80d316b13217aeefc89fcf56d2b3f"
ARM = "f4a848694d92d6eba1491b3109a3d6058331c3c057fd8595ee1a53f19d9631f8"
OTHER = "0" * 64
VERSION = "0.0.35+cu128.1"
FILE = "tyre_demo-0.0.35+cu128.1-py3-none-manylinux_2_28_x86_64.whl"
ADVICE = "use 0.0.35+cu128.2"
FIRST = "2026-11-22T10:00:00Z"
LATER = "2026-11-23T10:00:00.500000Z"


def entry(**changes: Any) -> Entry:
    whole = Entry(
        project="tyre-demo", version=VERSION, sha256=None, file=None, reason="wrong results on 12.0", advice=ADVICE,
        since=LATER,
    )  # fmt: skip
    return replace(whole, **changes)


def revoked(*entries: Entry) -> Revocations:
    found = revocation.begin(FIRST)
    for one in entries:
        found = revocation.add(found, one)
    return found


def listed(
    sha256: str = X86, version: str = VERSION, yanked: str | None = None, project: str = "tyre-demo"
) -> Listed:
    return Listed(project=project, version=version, sha256=sha256, yanked=yanked)


def locked(*sha256s: str, version: str = VERSION, project: str = "tyre-demo") -> Locked:
    return Locked(
        project=project, version=version, sha256s=sha256s, source="https://wheels.example/cu128/simple"
    )


def kinds(one: Locked, revocations: Revocations, *ours: Listed) -> list[tuple[str, tuple[str, ...]]]:
    return [(str(found.kind), found.sha256s) for found in revocation.check([one], revocations, ours)]


def table(*entries: Entry, **changes: Any) -> dict[str, Any]:
    return json.loads(revocation.write(revoked(*entries))) | changes


def faults(data: Any) -> tuple[str, ...]:
    with pytest.raises(PublishError) as caught:
        revocation.parse(json.dumps(data).encode(), name="revoked.json")
    return caught.value.faults or (caught.value.message,)


# The list.


def test_a_list_is_read_as_it_was_written() -> None:
    whole = revoked(entry(), entry(version=None, project="old-demo"), entry(sha256=X86, file=FILE))
    assert revocation.parse(revocation.write(whole), name="revoked.json") == whole
    assert (whole.serial, whole.issued) == (4, LATER)


def test_the_same_list_has_the_same_bytes() -> None:
    entries = [
        entry(sha256=X86),
        entry(sha256=ARM),
        entry(project="A_b", version="1.0-0"),
        entry(version=None),
    ]
    lists = [revoked(*entries), revoked(*reversed(entries))]
    assert revocation.write(lists[0]) == revocation.write(lists[1])
    untidy = msgspec.json.encode(replace(lists[0], entries=tuple(entries)))
    assert revocation.write(revocation.parse(untidy, name="revoked.json")) == revocation.write(lists[0])


def test_names_and_versions_are_normalised() -> None:
    (one,) = revoked(entry(project="Tyre_Demo", version="0.0.35+CU128-1")).entries
    assert (one.project, one.version) == ("tyre-demo", VERSION)


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(PublishError, match="is not a revocation list: 'serial' is there twice"):
        revocation.parse(b'{"schema": 1, "serial": 2, "serial": 1}', name="r.json")


def test_nothing_is_revoked_twice() -> None:
    first = revoked(entry())
    with pytest.raises(
        PublishError, match=r"tyre-demo 0\.0\.35\+cu128\.1 is revoked already, since .*: wrong results"
    ):
        revocation.add(first, entry(project="Tyre.Demo", reason="another"))
    assert len(revocation.add(first, entry(sha256=X86)).entries) == 2
    double = table(entry())
    double["entries"] *= 2
    assert faults(double)[0] == "tyre-demo 0.0.35+cu128.1 is revoked twice"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"project": "tyre demo"}, "project: 'tyre demo' is not a name"),
        ({"project": ""}, "project: left empty; expected a text that is not empty"),
        ({"version": "one"}, "version: 'one' is not a version"),
        ({"version": None, "sha256": X86}, "version: a file that is revoked by sha256 has one"),
        ({"file": FILE}, "file: names a file, but sha256 does not say which bytes"),
        ({"sha256": X86, "file": "demo.zip"}, "file: 'demo.zip' is not the name of a wheel"),
        ({"sha256": X86, "file": FILE, "version": "0.0.35"}, f"file: {FILE} is not of tyre-demo 0.0.35"),
        ({"reason": ""}, "reason: left empty; expected a text that is not empty"),
        ({"advice": ""}, "advice: left empty; expected a text that is not empty"),
        ({"since": "today"}, "since: expected a time in UTC, like 2026-11-22T10:00:00Z, got 'today'"),
        (
            {"since": "2026-13-32T25:61:61Z"},
            "since: expected a time in UTC, like 2026-11-22T10:00:00Z, got '2026-13-32T25:61:61Z'",
        ),
    ],
)
def test_an_entry_that_contradicts_itself(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PublishError) as caught:
        revocation.add(revoked(), entry(**changes))
    assert caught.value.faults == (told,)
    whole = table(entry())
    whole["entries"][0] |= changes
    assert faults(whole) == (f"entries[0].{told}",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"serial": 0}, "serial: expected an integer from 1 on, got 0"),
        ({"serial": True}, "serial: expected an integer from 1 on, got true"),
        ({"serial": "2"}, "serial: expected an integer from 1 on, got '2'"),
        (
            {"issued": "2026-11-22"},
            "issued: expected a time in UTC, like 2026-11-22T10:00:00Z, got '2026-11-22'",
        ),
        ({"serials": 1}, "serials: unknown key (did you mean 'serial'?)"),
        ({"schema": 2}, "revoked.json has schema 2; this retread reads up to 1"),
        ({"schema": 0}, "revoked.json is not a revocation list: its schema is 0"),
        ({"schema": None}, "revoked.json is not a revocation list: its schema is nothing, and no number"),
        ({"entries": {}}, "entries: expected an array, got a table"),
    ],
)
def test_a_list_with_a_wrong_field(changes: dict[str, Any], told: str) -> None:
    assert faults(table(entry()) | changes) == (told,)


def test_a_wrong_digest_is_told() -> None:
    whole = table(entry())
    whole["entries"][0]["sha256"] = X86.upper()
    (fault,) = faults(whole)
    assert fault.startswith("entries[0].sha256: ")


def test_a_missing_field_is_told() -> None:
    whole = table(entry())
    del whole["entries"][0]["sha256"], whole["issued"]
    assert faults(whole) == ("entries[0].sha256: missing", "issued: missing")


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_list_at_all(payload: bytes) -> None:
    with pytest.raises(PublishError, match=r"revoked\.json is not a revocation list: "):
        revocation.parse(payload, name="revoked.json")


def test_an_older_list_does_not_stand_in_for_a_newer_one() -> None:
    old = revoked(entry())
    new = revocation.add(old, entry(project="other"))
    assert revocation.newer(None, old) is old
    assert revocation.newer(old, new) is new
    assert revocation.newer(new, new) is new
    with pytest.raises(
        PublishError, match=r"serial number 2 of .* is older than the list seen last, serial number 3"
    ):
        revocation.newer(new, old)
    with pytest.raises(PublishError, match="is not the list of this number seen last"):
        revocation.newer(old, revoked(entry(reason="nothing to see")))


# What is found.


def test_a_revoked_file_is_found_by_its_digest_whatever_its_name() -> None:
    bad = revoked(entry(sha256=X86, file=FILE))
    assert kinds(locked(ARM, X86), bad) == [("revoked", (X86,))]
    assert kinds(locked(X86, project="renamed", version="9"), bad) == [("revoked", (X86,))]
    assert kinds(locked(ARM), bad) == []


def test_without_digests_name_and_version_decide() -> None:
    bad = revoked(entry(sha256=X86, file=FILE))
    assert kinds(locked(), bad) == [("revoked", ())]
    assert kinds(locked(version="0.0.35+cu128.2"), bad) == []
    assert kinds(locked(project="other"), bad) == []


def test_a_whole_version_is_revoked_whatever_its_bytes() -> None:
    assert kinds(locked(X86, ARM), revoked(entry())) == [("revoked", (X86, ARM))]
    assert kinds(locked(), revoked(entry())) == [("revoked", ())]


def test_a_whole_project_is_revoked_whatever_its_version() -> None:
    bad = revoked(entry(version=None))
    assert kinds(locked(X86, version="1"), bad) == [("revoked", (X86,))]
    assert kinds(locked(version=""), bad) == [("revoked", ())]
    assert kinds(locked(project="tyre"), bad) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.0.35", "0.0.35+cu128.1", False),
        ("0.0.35+cu128.1", "0.0.35", False),
        ("0.0.35+cu128.1", "0.0.35+cu128.10", False),
        ("0.0.35+cu128.1", "0.0.35+cu130.1", False),
        ("0.0.35+cu128.1", "v0.0.35.0+CU128_1", True),
        ("1.0", "1", True),
        ("1.0rc1", "1.0-c1", True),
        ("1.0", "1.0.post0", False),
    ],
)
def test_versions_are_compared_with_their_local_part(one: str, other: str, same: bool) -> None:
    assert kinds(locked(version=one), revoked(entry(version=other))) == ([("revoked", ())] if same else [])
    assert kinds(locked(version=one), revoked(), listed(version=other, yanked="bad")) == (
        [("yanked", ())] if same else []
    )


def test_a_version_that_is_none_is_compared_as_it_is() -> None:
    assert kinds(locked(version="2004d-x"), revoked(), listed(version="2004d-x", yanked="")) == [
        ("yanked", ())
    ]


def test_a_yanked_file_is_found() -> None:
    yanked = listed(X86, yanked="slow")
    assert kinds(locked(X86), revoked(), yanked) == [("yanked", (X86,))]
    assert kinds(locked(), revoked(), yanked) == [("yanked", ())]
    assert kinds(locked(ARM), revoked(), yanked, listed(ARM)) == []


def test_what_is_revoked_is_not_told_as_yanked_too() -> None:
    assert kinds(locked(X86), revoked(entry()), listed(X86, yanked="slow")) == [("revoked", (X86,))]


def test_files_of_one_reason_are_told_together() -> None:
    yanked = [listed(X86, yanked="slow"), listed(ARM, yanked="slow")]
    assert kinds(locked(X86, ARM), revoked(), *yanked) == [("yanked", (X86, ARM))]
    apart = [listed(X86, yanked="slow"), listed(ARM, yanked="wrong")]
    assert kinds(locked(X86, ARM), revoked(), *apart) == [("yanked", (X86,)), ("yanked", (ARM,))]


def test_other_bytes_of_a_name_and_version_of_ours_are_found() -> None:
    assert kinds(locked(X86, OTHER), revoked(), listed(X86)) == [("unknown-bytes", (OTHER,))]
    assert kinds(locked(X86, ARM), revoked(), listed(X86), listed(ARM)) == []
    assert kinds(locked(OTHER, version="0.0.35"), revoked(), listed(X86)) == []
    assert kinds(locked(OTHER, project="other"), revoked(), listed(X86)) == []
    assert kinds(locked(), revoked(), listed(X86)) == []


def test_bytes_that_are_revoked_are_known() -> None:
    assert kinds(locked(OTHER), revoked(entry(sha256=OTHER)), listed(X86)) == [("revoked", (OTHER,))]


def test_a_file_as_the_index_holds_it_will_do() -> None:
    hosted = Hosted(
        file=FILE, sha256=X86, size=1, project="tyre-demo", version=VERSION, uploaded=FIRST, requires_python="",
        metadata_sha256=OTHER, yanked="slow", unproven="", sidecars=(), cuda="12.8", torch="", triton=(),
        lane="overlay", commit="", libraries={}, patches=(), tried=(),
    )  # fmt: skip
    (found,) = revocation.check([locked(X86)], revoked(), [hosted])
    assert (found.kind, found.why) == ("yanked", "slow")


# Real locks, and the verdict.


@pytest.mark.parametrize(
    "path", sorted(path for path in LOCKS.iterdir() if path.name != "make.py"), ids=lambda path: path.name
)
def test_a_revoked_wheel_is_found_in_the_lock_of_every_tool(path: Path) -> None:
    found = revocation.check(
        readers.read(path.read_bytes(), name=path.name),
        revoked(entry(sha256=X86, file=FILE)),
        [listed(X86), listed(ARM), listed(OTHER, "1.2", project="tyre-gauge")],
    )
    assert [one.kind for one in found if one.project == "tyre-demo"] == ["revoked"]
    strange = [] if path.name == "requirements-bare.txt" else ["unknown-bytes"]
    assert [one.kind for one in found if one.project == "tyre-gauge"] == strange
    assert not [one for one in found if one.project == "tyre-rim"]


def test_a_revoked_wheel_is_found_in_an_environment() -> None:
    rows = readers.from_records([Installed("Tyre.Demo", VERSION), Installed("tyre-rim", "2.0")])
    (found,) = revocation.check(rows, revoked(entry(sha256=X86)), [])
    assert revocation.tell(found) == (
        "revoked: tyre-demo 0.0.35+cu128.1 (by name and version, no sha256 is stated): wrong results on 12.0; "
        "use 0.0.35+cu128.2"
    )


def verdict(findings: tuple[Finding, ...], *, strict: bool = False) -> RevokedError:
    with pytest.raises(RevokedError) as caught:
        revocation.demand(findings, strict=strict)
    return caught.value


def test_the_verdict_tells_everything_at_once() -> None:
    rows = [locked(X86), locked(OTHER, version="1"), locked(ARM, project="soft")]
    ours = [listed(ARM, "1"), listed(ARM, VERSION, "slow", "soft")]
    error = verdict(revocation.check(rows, revoked(entry()), ours))
    assert error.exit_code == 21
    assert error.message == "2 of what is locked must not be used"
    assert error.faults == (
        f"revoked: tyre-demo 0.0.35+cu128.1 (sha256 {X86}, from https://wheels.example/cu128/simple): "
        "wrong results on 12.0; use 0.0.35+cu128.2",
        f"unknown-bytes: tyre-demo 1 (sha256 {OTHER}, from https://wheels.example/cu128/simple): the index has a file "
        "of this name and version, with other bytes; do not install it; find out where it comes from, and lock again "
        "with the index as the only source",
        f"yanked: soft 0.0.35+cu128.1 (sha256 {ARM}, from https://wheels.example/cu128/simple): slow; "
        "lock again: a range passes a yanked version over",
    )


def test_a_yank_alone_is_a_warning_unless_it_is_asked_to_be_more() -> None:
    found = revocation.check([locked(X86)], revoked(), [listed(X86, yanked="")])
    revocation.demand(found)
    assert "no reason was given" in verdict(found, strict=True).faults[0]
    revocation.demand((), strict=True)


digests = st.sampled_from([X86, ARM, OTHER, "1" * 64])
versions = st.sampled_from(["1", "1.0", "1+cu128.1", "2"])


@given(
    st.lists(st.tuples(versions, st.lists(digests, max_size=3, unique=True))),
    st.lists(st.tuples(st.none() | versions, st.none() | digests)),
)
def test_every_digest_that_is_revoked_is_found_and_no_other_file(
    rows: list[tuple[str, list[str]]], bad: list[tuple[str | None, str | None]]
) -> None:
    entries = tuple(entry(version=version or "3", sha256=sha256) for version, sha256 in bad if sha256)
    lock = [locked(*sha256s, version=version) for version, sha256s in rows if sha256s]
    found = revocation.check(lock, replace(revocation.begin(FIRST), entries=entries), [])
    revoked_digests = {sha256 for _, sha256 in bad if sha256}
    wanted = [[digest for digest in one.sha256s if digest in revoked_digests] for one in lock]
    assert [list(one.sha256s) for one in found] == [one for one in wanted if one]


def test_a_list_from_tomorrow_is_not_taken_for_a_fresh_one() -> None:
    """With a clock that stands in 1969, no list would ever be too old."""
    with pytest.raises(PublishError, match="after today"):
        revocation.demand_fresh(revoked(), 30, -86_400)
