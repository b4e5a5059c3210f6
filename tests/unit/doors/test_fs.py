"""Writing: complete or not at all, and every way in which a disk refuses is a message."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from retread.doors import fs
from retread.errors import StoreError
from tinycuda import names


def test_write_puts_the_whole_file_and_nothing_else(tmp_path: Path) -> None:
    fs.write(tmp_path / "new" / "file", b"content")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o644
    assert names(tmp_path / "new") == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def write() -> None:
        with fs.sibling(tmp_path / "file") as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_a_killed_process_was_writing_is_removed_by_the_next_writer_of_it_alone(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with fs.sibling(tmp_path / "file"), fs.sibling(tmp_path / "other"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == 2
    with fs.sibling(tmp_path / "file") as living:
        assert {living.name} == {name for name in names(tmp_path) if name.startswith(".file.")}
        fs.write(tmp_path / "file", b"content")
        assert living.exists()
        living.write_bytes(b"more")
    (other,) = set(names(tmp_path)) - {"file"}
    assert other.startswith(".other.")
    assert (tmp_path / "file").read_bytes() == b"more"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "no permission"),
    ],
)
def test_a_disk_that_refuses_is_named_with_the_way_out(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(StoreError) as caught, fs.sibling(tmp_path / "file"):
        raise OSError(code, os.strerror(code))
    assert f"cannot write {tmp_path / 'file'}: {words}" in str(caught.value)
    assert caught.value.hint
    assert not names(tmp_path)


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), fs.disk_errors(tmp_path):
        raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="a file is in the way"):
        fs.write(tmp_path / "file" / "below", b"")


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(StoreError, match="a folder is in the way"):
        fs.write(tmp_path / "place", b"")
    assert names(tmp_path) == ["place"]


def test_what_cannot_be_written_is_called_as_the_user_called_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("place").mkdir()
    Path("file").touch()
    with pytest.raises(StoreError, match=r"^cannot write place: a folder is in the way\n"):
        fs.write(Path("place"), b"")
    with pytest.raises(StoreError, match=r"^cannot write file/below: a file is in the way\n"):
        fs.demand_folder(Path("file/below"))
    fs.demand_folder(Path("place/below"))
    assert names(tmp_path) == ["file", "place"]


def test_a_limit_on_the_size_of_files_is_a_message(tmp_path: Path) -> None:
    program = "import sys, pathlib; from retread.doors import fs; fs.write(pathlib.Path(sys.argv[1]), bytes(10_000))"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-B", "-c", program, tmp_path / "file"],
        preexec_fn=limit, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "StoreError" in done.stderr
    assert "larger than this process or disk may write" in done.stderr
    assert not names(tmp_path)


def _no_link(*_: object) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_two_processes_that_place_the_same_file_leave_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that is renamed onto one to the same file stays: rename(2) does nothing then."""
    (tmp_path / "store").write_bytes(b"wheel")
    destination = tmp_path / "dist" / "wheel"
    link = os.link

    def late(source: Path, temporary: Path) -> None:
        link(source, temporary)
        link(source, destination)  # the other process

    monkeypatch.setattr(os, "link", late)
    assert not fs.place(tmp_path / "store", destination)
    assert names(tmp_path / "dist") == ["wheel"]


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")], ids=["pipe", "device"]
)
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "out")
    with pytest.raises(StoreError, match="out: it is no plain file"):
        fs.write(tmp_path / "out", b"data")
    assert not stat.S_ISREG((tmp_path / "out").stat().st_mode)
    assert names(tmp_path) == ["out"]


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    assert fs.listed(tmp_path / "missing") == []
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(PermissionError):
        fs.listed(tmp_path)


@pytest.mark.parametrize("trades", [True, False], ids=["at once", "by a rename"])
def test_place_links_where_it_can(trades: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = list[str]()
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda one, other: renamed.append(other.name) or replace(one, other))
    if not trades:
        monkeypatch.setattr(fs, "exchange", lambda *_: False)
    (tmp_path / "store").write_bytes(b"wheel")
    destination = tmp_path / "dist" / "wheel"
    assert not fs.place(tmp_path / "store", destination)
    assert destination.samefile(tmp_path / "store")
    assert not fs.place(tmp_path / "store", destination)
    for data, other in ((b"wheel", False), (b"other", True)):
        destination.unlink()
        destination.write_bytes(data)
        assert fs.place(tmp_path / "store", destination) is other
        assert destination.samefile(tmp_path / "store")
    assert len(renamed) == (1 if trades else 3)  # onto nothing, and onto what waits for its blocks
    assert names(tmp_path / "dist") == ["wheel"]


def test_place_copies_across_disks_and_knows_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").write_bytes(b"wheel")
    monkeypatch.setattr(os, "link", _no_link)
    destination = tmp_path / "dist" / "wheel"
    assert not fs.place(tmp_path / "store", destination)
    first = destination.stat()
    assert destination.read_bytes() == b"wheel"
    assert not fs.place(tmp_path / "store", destination)
    assert destination.stat().st_ino == first.st_ino
    destination.write_bytes(b"other")
    os.utime(destination, ns=(first.st_atime_ns, first.st_mtime_ns))  # neither size nor time tells them apart
    assert fs.place(tmp_path / "store", destination)
    assert destination.read_bytes() == b"wheel"
    assert names(tmp_path / "dist") == ["wheel"]


@pytest.mark.parametrize("size", [0, 1, fs.CHUNK - 1, fs.CHUNK, fs.CHUNK + 1, 3 * fs.CHUNK])
def test_files_are_equal_when_every_byte_is(tmp_path: Path, size: int) -> None:
    data = bytes(size)
    (tmp_path / "one").write_bytes(data)
    (tmp_path / "other").write_bytes(data)
    assert fs.is_equal(tmp_path / "one", tmp_path / "other")
    for place in {0, size // 2, size - 1} if size else ():
        (tmp_path / "other").write_bytes(data[:place] + b"x" + data[place + 1 :])
        assert not fs.is_equal(tmp_path / "one", tmp_path / "other")
    (tmp_path / "other").write_bytes(data + b"x")
    assert not fs.is_equal(tmp_path / "one", tmp_path / "other")


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    assert fs.sha256(tmp_path / "file") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: (path / "deep").mkdir(parents=True),
        lambda path: path.symlink_to(path.parent / "kept"),
        lambda path: None,
    ],
    ids=["file", "folder", "link", "nothing"],
)
def test_remove_takes_away_what_is_there_and_no_more(tmp_path: Path, make: Callable[[Path], object]) -> None:
    (tmp_path / "kept").mkdir()
    make(tmp_path / "gone")
    fs.remove(tmp_path / "gone")
    assert names(tmp_path) == ["kept"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.toml"), "cannot use a.toml: no permission"),
        (
            OSError(errno.ENXIO, "No such device", b"a.sock"),
            "cannot use a.sock: it is a socket, or nobody is",
        ),
        (OSError(errno.EMFILE, "Too many open files", "a.whl"), "cannot use a.whl: Too many open files"),
        (OSError("no number, no name"), "the system refused: no number, no name"),
    ],
)
def test_an_error_of_the_system_names_the_file_and_says_what_is_wrong(error: OSError, words: str) -> None:
    assert str(fs.refused(error)).startswith(words)


def test_what_cannot_be_read_is_not_what_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="cannot use /elsewhere/a: no permission"),
        fs.disk_errors(tmp_path / "b"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/a")


def test_a_folder_that_is_gone_is_named_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()  # noqa: PTH109
    assert fs.refused(caught.value).message == "the folder that this runs in is gone"


def test_a_disk_that_fails_while_a_file_is_read_is_told_with_its_name() -> None:
    with pytest.raises(OSError) as caught:
        fs.read(Path("/proc/self/mem"))
    assert str(fs.refused(caught.value)) == "cannot use /proc/self/mem: the disk fails"


def test_a_temporary_folder_is_gone_afterwards_and_that_of_a_dead_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "retread-trial-dead" / "in").mkdir(parents=True)
    with fs.temporary("trial") as first, fs.temporary("trial") as second:
        fs.write(first / "file", b"")  # which locks the folder
        assert sorted([first.parent, second.parent]) == sorted(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
