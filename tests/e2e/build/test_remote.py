"""Two machines share a folder: what one makes, the other takes, if it is whole and signed by somebody trusted."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from obstore.exceptions import GenericError

from retread.doors.store import Kind, Store
from retread.errors import StoreError, UsageError
from retread.evidence import keyfiles
from retread.evidence.signing import Key
from retread.shared import remote
from retread.shared.remote import Means, Shared

KEY = "ab" * 32
DAY = 86400


class Machine(NamedTuple):
    """A machine with a store of its own and the shared one."""

    store: Store
    shared: Shared
    said: list[str]
    built: list[str]

    def make(
        self, kind: Kind = Kind.CUBINS, key: str = KEY, content: bytes = b"cubin", file: str = "a.cubin"
    ) -> bytes:
        """Return what the entry holds, from wherever it comes."""

        def build(into: Path) -> None:
            self.built.append(key)
            (into / file).write_bytes(content)

        return (self.store.make(kind, key, build) / file).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    found = tmp_path / "shared"
    found.mkdir()
    return found


@pytest.fixture
def machines(tmp_path: Path, place: Path) -> Callable[..., Machine]:
    count = iter(range(100))

    def machine(signer: Key | None = None, *trusted: Key, address: str = "", ahead: float = 0.0) -> Machine:
        said: list[str] = []
        means = remote.means(trusted, signer, said.append)
        if ahead:
            import time

            means = means._replace(now=lambda: time.time() + ahead)
        shared = Shared(address or f"file://{place}", lambda: means)
        return Machine(Store(tmp_path / f"store-{next(count)}", elsewhere=shared), shared, said, [])

    return machine


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return keyfiles.new(tmp_path, "ci")


def alike(machine: Machine, *keys: str) -> None:
    """Make entries whose parcels have the same bytes."""

    def build(into: Path) -> None:
        (into / "a.cubin").write_bytes(b"cubin")
        os.utime(into / "a.cubin", (1e9, 1e9))

    for key in keys:
        machine.store.make(Kind.CUBINS, key, build)


def objects(place: Path, below: str) -> list[Path]:
    return [path for path in sorted((place / below).rglob("*")) if path.is_file()]


def test_what_one_machine_made_another_takes(machines: Callable[..., Machine], key: Key, place: Path) -> None:
    one, other = machines(key), machines(None, key)
    assert one.make() == other.make() == b"cubin"
    assert (one.built, other.built) == ([KEY], [])
    assert one.said == other.said == []
    assert len(objects(place, "entries")) == len(objects(place, "parcels")) == 1
    assert machines(None, key).make() == b"cubin"


def test_nobody_who_is_not_trusted_is_believed(
    machines: Callable[..., Machine], key: Key, tmp_path: Path
) -> None:
    theirs = keyfiles.new(tmp_path, "theirs")
    machines(theirs).make(content=b"poison")
    other = machines(key)
    assert other.make() == b"cubin"
    assert other.built == [KEY]
    assert len(other.said) == 1
    assert f"the shared store's cubins/{KEY[:16]} is refused: entries/cubins/{KEY}/" in other.said[0]
    assert (
        f"is signed by no key that is known here (it is signed by {theirs.id[:16]}; known are ci ("
        in other.said[0]
    )
    assert other.said[0].endswith("; it is made here")
    third = machines(None, key)  # and the poison hides nothing from who comes next
    assert (third.make(), third.built) == (b"cubin", [])


def test_a_stranger_is_told_once_and_not_for_every_entry(
    machines: Callable[..., Machine], key: Key, tmp_path: Path
) -> None:
    theirs, other = machines(keyfiles.new(tmp_path, "theirs")), machines(key)
    third = keyfiles.new(tmp_path, "third")
    keys = [KEY, "a" * 64, "b" * 64]
    for one in keys:
        theirs.make(key=one, content=b"poison")
    machines(third).make(key="c" * 64, content=b"poison")
    for one in (*keys, "c" * 64):
        assert other.make(key=one) == b"cubin"
    assert [KEY[:16] in said for said in other.said] == [True, False]
    assert third.id[:16] in other.said[1], "another builder is told of"
    other.shared.sum_up()
    (summed,) = other.said[2:]
    assert summed.startswith("note: 3 entries of the shared store were refused; each is signed by ")
    faults = list(other.shared.faults())
    assert {one.strangers: sum(one.strangers == two.strangers for two in faults) for one in faults}[
        (third.id[:16],)
    ] == 1


def test_who_has_no_key_gives_nothing(machines: Callable[..., Machine], place: Path) -> None:
    machines().make()
    assert list(place.iterdir()) == []


def tampered(place: Path) -> None:
    (file,) = objects(place, "parcels")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def truncated(place: Path) -> None:
    (file,) = objects(place, "parcels")
    file.write_bytes(file.read_bytes()[:-1])


def moved(place: Path) -> None:
    (file,) = objects(place, "entries")
    other = place / "entries" / "cubins" / ("ee" * 32)
    other.mkdir()
    file.rename(other / file.name)


def rubbish(place: Path) -> None:
    (file,) = objects(place, "entries")
    file.write_bytes(b"{}")


def unsigned(place: Path) -> None:
    (file,) = objects(place, "entries")
    file.write_bytes(json.dumps({**json.loads(file.read_bytes()), "signatures": []}).encode())


def endless(place: Path) -> None:
    (file,) = objects(place, "entries")
    file.write_bytes(b" " * 100_000)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (tampered, "its parcel holds other bytes than are claimed"),
        (truncated, "bytes, claimed are"),
        (rubbish, "is no DSSE envelope"),
        (unsigned, "is not signed"),
        (endless, "a claim has 65,536 at most"),
    ],
)
def test_a_spoilt_entry_is_refused_and_named(
    machines: Callable[..., Machine], key: Key, place: Path, spoil: Callable[[Path], None], told: str
) -> None:
    machines(key).make()
    spoil(place)
    other = machines(None, key)
    assert (other.make(), other.built) == (b"cubin", [KEY])
    assert len(other.said) == 1
    assert told in other.said[0]
    assert f"the shared store's cubins/{KEY[:16]} is refused: " in other.said[0]
    (fault,) = other.shared.faults()
    assert told in fault.why
    assert other.store.entries()[0].key == KEY  # what was made here is whole


def test_a_claim_of_another_entry_is_refused(machines: Callable[..., Machine], key: Key, place: Path) -> None:
    machines(key).make()
    moved(place)
    other = machines(None, key)
    assert other.make(key="ee" * 32, content=b"mine") == b"mine"
    assert f"claims cubins/{KEY}, which is another entry" in other.said[0]


def test_half_an_entry_is_none(machines: Callable[..., Machine], key: Key, place: Path) -> None:
    machines(key).make()
    (file,) = objects(place, "entries")
    file.unlink()  # killed after the parcel, before the claim
    other = machines(key)
    assert (other.make(), other.built, other.said) == (b"cubin", [KEY], [])
    for file in objects(place, "parcels"):
        file.unlink()  # pruned while somebody looks
    third = machines(None, key)
    assert (third.make(), third.built, third.said) == (b"cubin", [KEY], [])


def test_what_is_pruned_while_it_is_fetched_is_made_here(
    machines: Callable[..., Machine], key: Key, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machines(key)
    one.make()
    one.make(key="cd" * 32)
    fetch = remote.Bucket.fetch

    def late(self: remote.Bucket, name: str, path: Path, *, most: int | None = None) -> object:
        (place / name).unlink(missing_ok=True)
        monkeypatch.undo()
        return fetch(self, name, path, most=most)

    monkeypatch.setattr(remote.Bucket, "fetch", late)
    other = machines(None, key)
    assert (other.make(), other.built, other.said) == (b"cubin", [KEY], [])
    assert (other.make(key="cd" * 32), other.built) == (
        b"cubin",
        [KEY],
    )  # and the rest still comes from there


@pytest.mark.parametrize("hours", [-30, -5, 5, 30])
def test_a_clock_that_is_hours_off_changes_nothing(
    machines: Callable[..., Machine], key: Key, hours: int
) -> None:
    odd, other = machines(key, ahead=hours * 3600), machines(None, key)
    odd.make()
    assert (other.make(), other.built, other.said) == (b"cubin", [], [])
    other.make(key="cd" * 32)
    assert odd.make(key="cd" * 32) == b"cubin"
    assert odd.shared.prune(unused_days=30) == []
    assert list(other.shared.faults()) == []


def test_a_disk_without_room_for_a_parcel_keeps_what_was_made(
    machines: Callable[..., Machine], key: Key, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def full(entry: Path, file: Path) -> None:
        seen.append(file)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(remote.parcel, "pack", full)
    one = machines(key)
    assert one.make() == b"cubin"
    assert one.store.get(Kind.CUBINS, KEY)
    (told,) = one.said
    assert "cannot write " in told
    assert told.endswith("; what is made here is not given to others")
    assert seen[0].is_relative_to(one.store.root / "scratch"), "where it is swept when its process is killed"


def test_a_download_is_believed_by_its_key_alone(machines: Callable[..., Machine], tmp_path: Path) -> None:
    theirs = keyfiles.new(tmp_path, "theirs")
    right = hashlib.sha256(b"sdist").hexdigest()
    machines(theirs).make(Kind.DOWNLOADS, right, b"sdist", "a.tar.gz")
    other = machines()
    assert (other.make(Kind.DOWNLOADS, right, b"", "a.tar.gz"), other.built) == (b"sdist", [])
    wrong = hashlib.sha256(b"another").hexdigest()
    machines(theirs).make(Kind.DOWNLOADS, wrong, b"poison", "a.tar.gz")
    other = machines()
    assert other.make(Kind.DOWNLOADS, wrong, b"another", "a.tar.gz") == b"another"
    assert "it is not the file whose SHA-256 is its key" in other.said[0]


def test_two_who_make_one_entry_at_once_leave_two_that_are_whole(
    machines: Callable[..., Machine], key: Key, place: Path
) -> None:
    one, other = machines(key), machines(key)

    def meanwhile(into: Path) -> None:
        assert other.make(content=b"other") == b"other"
        (into / "a.cubin").write_bytes(b"one")

    one.store.make(Kind.CUBINS, KEY, meanwhile)
    assert len(objects(place, "entries")) == len(objects(place, "parcels")) == 2
    assert list(one.shared.faults()) == []
    third = machines(None, key)
    assert third.make() in {b"one", b"other"}
    assert third.built == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("file:///dev/null", "it is no folder"),
        ("file:///", "it is the root of the disk"),
        ("file://", "the address of a folder begins with file:///"),
        ("/mnt/shared", "a folder is written file:///mnt/shared"),
        ("shared", "it is no address"),
        ("http://there", "no shared store is reached by http://"),
        ("ftp://there", "no shared store is reached by ftp://"),
        ("s3://", "it is no address of a bucket"),
        ("s3://bucket/pre#x", "the address of a store has no '[?]' and no '#'"),
    ],
)
def test_an_address_of_nothing_is_an_error(
    machines: Callable[..., Machine], key: Key, address: str, told: str
) -> None:
    with pytest.raises(UsageError, match=f"RETREAD_SHARED: {address} cannot be opened: {told}") as caught:
        machines(key, address=address).make()
    assert caught.value.hint == "there are s3://bucket/prefix, gs://bucket/prefix and file:///folder"


def test_a_folder_that_is_not_there_is_to_be_made_or_mounted(
    machines: Callable[..., Machine], key: Key
) -> None:
    with pytest.raises(UsageError, match="file:///nowhere/a%20b cannot be opened: it is not there") as caught:
        machines(key, address="file:///nowhere/a%20b").make()
    assert caught.value.hint == "mount the disk that it is on, or make it: mkdir -p '/nowhere/a b'"


def test_a_tester_of_the_policy_is_told_by_its_role(
    machines: Callable[..., Machine], key: Key, tmp_path: Path
) -> None:
    lab = keyfiles.new(tmp_path, "lab")
    machines(lab).make(content=b"poison")
    said: list[str] = []
    shared = Shared(machines(key).shared.address, lambda: remote.means([key], None, said.append, [lab]))
    other = Machine(Store(tmp_path / "other", elsewhere=shared), shared, said, [])
    assert other.make() == b"cubin"
    who = f"lab ({lab.id[:16]}), whom the policy names as tester, not as builder"
    assert f"is signed by no builder (it is signed by {who})" in said[0]
    assert [(one.strangers, one.who) for one in shared.faults()] == [
        ((f"lab ({lab.id[:16]})",), "whom the policy names as tester, not as builder")
    ]


def test_a_store_that_may_only_be_read_still_serves(
    machines: Callable[..., Machine], key: Key, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines(key).make()

    def refuse(*_: object) -> None:
        raise StoreError("cannot write file:///shared/x: the storage answers 403")

    monkeypatch.setattr(remote.Bucket, "write", refuse)
    other = machines(key)
    assert (other.make(), other.built) == (b"cubin", [])
    other.make(key="cd" * 32)
    other.make(key="ef" * 32)
    assert other.said == [
        "    note: cannot write file:///shared/x: the storage answers 403; what is made here is not given to others"
    ]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "no permission"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EDEADLK, os.strerror(errno.EDEADLK)),
    ],
)
def test_a_disk_that_takes_no_writes_says_why_and_is_read_on(
    machines: Callable[..., Machine], key: Key, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    machines(key).make()

    def refuse(*_: object, **__: object) -> None:
        raise GenericError(f"Generic LocalFileSystem error: Unable to open file /x#1: x (os error {number})")

    monkeypatch.setattr("obstore.put", refuse)
    other = machines(key)
    other.make(key="cd" * 32)
    assert (other.make(), other.built) == (b"cubin", ["cd" * 32])
    (said,) = other.said
    assert said.startswith(f"    note: cannot write {other.shared.address}/parcels/")
    assert said.endswith(f": {told}; what is made here is not given to others")


def test_who_uses_an_entry_keeps_it(machines: Callable[..., Machine], key: Key, place: Path) -> None:
    one = machines(key)
    one.make()
    one.make(key="cd" * 32, content=b"unused")
    for path in objects(place, "entries") + objects(place, "parcels"):
        os.utime(path, (path.stat().st_mtime - 40 * DAY,) * 2)
    reader = machines(None, key)
    reader.make()  # who may not write marks nothing
    assert len([one for one in reader.shared.entries() if one.used < os.times().elapsed]) == 0
    other = machines(key)
    other.make()
    gone = other.shared.prune(unused_days=30)
    assert [one.key for one in gone] == ["cd" * 32]
    assert [one.key for one in other.shared.entries()] == [KEY]
    assert len(objects(place, "parcels")) == 1


def test_a_quota_takes_the_longest_unused(machines: Callable[..., Machine], key: Key, place: Path) -> None:
    one = machines(key)
    for number in range(4):
        one.make(key=f"{number}" * 64, content=os.urandom(10_000))
        for path in objects(place, "entries"):
            if f"{number}" * 64 in str(path):
                os.utime(path, (path.stat().st_mtime + number,) * 2)
    gone = one.shared.prune(unused_days=30, keep_bytes=25_000)
    assert [one.key[0] for one in gone] == ["0", "1"]
    assert len(objects(place, "parcels")) == 2
    assert list(one.shared.faults()) == []


def test_an_upload_that_broke_off_goes_a_day_later(
    machines: Callable[..., Machine], key: Key, place: Path
) -> None:
    one = machines(key)
    one.make()
    (place / "parcels" / ("00" * 32)).write_bytes(b"half")
    (place / "parcels" / f"{'11' * 32}#1").write_bytes(b"staged")  # which no listing shows
    (place / "parcels" / "mine.txt").touch()
    assert (one.shared.prune(unused_days=30), one.shared.sweep()) == ([], 0)
    assert len(objects(place, "parcels")) == 4  # they may be somebody's who is at it
    later = machines(key, ahead=2 * DAY)
    assert (later.shared.prune(unused_days=30), later.shared.sweep()) == ([], len(b"half") + len(b"staged"))
    assert len(objects(place, "parcels")) == 2
    assert list(one.shared.faults()) == []


def test_days_of_zero_leave_nothing(machines: Callable[..., Machine], key: Key, place: Path) -> None:
    one = machines(key)
    alike(one, KEY, "cd" * 32)  # one parcel of two claims
    (place / "parcels" / ("00" * 32)).write_bytes(b"half")
    (place / "entries" / "cubins" / KEY / f"{'11' * 32}.json#3").touch()
    gone = one.shared.prune(unused_days=0, keep_bytes=0)
    assert [bool(one.size) for one in gone] == [False, True], "the bytes are counted once"
    one.shared.sweep(days=0)
    assert [*place.iterdir()] == [], "no file and no empty folder is left"
    one.make(key="ef" * 32)
    assert machines(key).make(key="ef" * 32) == b"cubin"


def test_what_is_removed_leaves_no_empty_folder(
    machines: Callable[..., Machine], key: Key, place: Path
) -> None:
    one = machines(key)
    one.make()
    one.make(Kind.WHEELS, "cd" * 32, b"wheel")
    (place / "entries" / "cubins" / ("ef" * 32)).mkdir()  # as an older retread left it
    one.shared.remove([listed for listed in one.shared.entries() if listed.kind is Kind.WHEELS])
    assert [path.name for path in (place / "entries").iterdir()] == ["cubins"]
    one.shared.sweep()
    assert [path.name for path in (place / "entries" / "cubins").iterdir()] == [KEY]


def test_a_quota_counts_the_bytes_of_two_entries_once(
    machines: Callable[..., Machine], key: Key, place: Path
) -> None:
    one = machines(key)
    alike(one, "0" * 64, "1" * 64, "2" * 64)
    one.make(key="a" * 64, content=os.urandom(10_000))
    for path in objects(place, f"entries/cubins/{'a' * 64}"):
        os.utime(path, (path.stat().st_mtime + 1,) * 2)
    gone = one.shared.prune(unused_days=30, keep_bytes=10_300)
    assert [found.key[0] for found in gone] == ["0", "1", "2"], "taking two of three frees nothing"


def test_an_entry_is_removed_with_what_it_alone_has(
    machines: Callable[..., Machine], key: Key, place: Path
) -> None:
    one = machines(key)
    alike(one, KEY, "cd" * 32)
    one.make(key="ef" * 32, content=b"another")
    first, second, third = sorted(one.shared.entries(), key=lambda entry: entry.key)
    assert [bool(found.size) for found in one.shared.remove([first, third])] == [False, True]
    assert list(one.shared.entries()) == [second]
    assert len(objects(place, "parcels")) == 1


def test_what_is_made_anew_comes_from_nowhere_else(
    machines: Callable[..., Machine], key: Key, tmp_path: Path
) -> None:
    one = machines(key)
    one.make(Kind.COMPILED)
    anew = machines(key)
    cold = anew._replace(store=anew.store.anew([Kind.COMPILED], tmp_path / "anew"))
    assert (cold.make(Kind.COMPILED, content=b"again"), cold.built) == (b"again", [KEY])
    assert (cold.make(Kind.CUBINS), cold.built[1:]) == (b"cubin", [KEY])


def test_means_trust_who_signs_here(key: Key) -> None:
    assert remote.means((), key, print) == Means((key,), key, print)
    assert remote.means((key,), key, print).trusted == (key,)


@pytest.mark.parametrize("below", ["entries", "parcels"])
def test_a_pipe_is_not_waited_for(
    machines: Callable[..., Machine], key: Key, place: Path, below: str
) -> None:
    machines(key).make()
    (file,) = objects(place, below)
    file.unlink()
    os.mkfifo(file)
    other = machines(None, key)
    assert (other.make(), other.built) == (b"cubin", [KEY])
    told = (
        "is no plain file; it is passed over"
        if below == "entries"
        else "is no plain file; the rest is done without"
    )
    assert told in other.said[0]


def test_a_folder_in_a_claim_s_place_is_told_and_hides_no_other(
    machines: Callable[..., Machine], key: Key, place: Path
) -> None:
    machines(key).make()
    (claim,) = objects(place, "entries")
    claim.with_name(f"{64 * '0'}.json").mkdir()
    other = machines(None, key)
    assert (other.make(), other.built) == (b"cubin", [])
    assert f"{64 * '0'}.json is no plain file; it is passed over" in other.said[0]
