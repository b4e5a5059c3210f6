"""The one door to object storage: whole objects with what readers are told of them, made, replaced and removed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from retread.address import has_secret, shown
from retread.doors import extras, fs
from retread.errors import PublishError, StoreError

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore


DIGEST = "retread-sha256"
"""The metadata of an object that holds the SHA-256 of its bytes, as they were uploaded."""
_PART = 5 << 20
"""Bytes of a part of a large object: the least that S3 takes for any but the last.

It bounds what memory holds of an object. Not measured against larger ones."""
_QUICK, _LONG, _CONNECT = timedelta(seconds=20), timedelta(seconds=60), timedelta(seconds=10)
_STATUS = re.compile(r"status code: (\d{3})|<Code>(\w{1,60})</Code>")
_DISK = re.compile(r"\(os error (\d+)\)")
_STAGED = re.compile(r"#\d+$")
"""What follows a file's name while it is written; no listing of a folder shows such a file."""
_NO_KEY = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
_HALF = re.compile(r"^Generic S3 error: Missing (AccessKeyId|SecretAccessKey)\b")
"""What obstore says of credentials of which one half alone is set."""
_HALVES = {"AccessKeyId": "AWS_ACCESS_KEY_ID", "SecretAccessKey": "AWS_SECRET_ACCESS_KEY"}


class Object(NamedTuple):
    """What a listing says of an object."""

    name: str
    size: int
    modified: float
    """When it was written, in seconds since 1970 by the storage's clock."""


class Found(NamedTuple):
    """An object's bytes, and which state of it that was."""

    data: bytes
    mark: UpdateVersion


class Facts(NamedTuple):
    """What the storage says of an object without its bytes."""

    size: int
    attributes: Mapping[str, str]


def is_bucket(address: str) -> bool:
    """Say whether an index's address is that of a bucket."""
    return address.startswith(("s3://", "gs://"))


class MissingError(StoreError):
    """An object that is not there, or not any more."""


class Bucket:
    """The objects below ``s3://bucket/prefix`` or ``gs://bucket/prefix``; who may, the provider's environment says.

    A folder does as well, as ``file:///path``; it keeps no attributes. Every method raises StoreError, naming the
    object, when the storage refuses or does not answer.
    """

    def __init__(
        self,
        address: str,
        told: Callable[[str], Mapping[str, str]] = lambda _: {},
        *,
        patience: float | None = None,
    ) -> None:
        """Take an address; ``told`` gives by an object's name the attributes that readers are told of it.

        With ``patience`` an answer about a small object is waited for so many seconds, and asked for once.
        """
        self.address = address.rstrip("/")
        self._told = told
        # What pages hang on is asked for briefly, so that no write arrives long after its lease.
        brief = None if patience is None else timedelta(seconds=patience)
        self._quick = _open(self.address, brief or _QUICK, retries=4 if brief is None else 0)
        self._long = _open(self.address, _LONG)

    def list(self, prefix: str) -> Iterator[Object]:
        """Yield every object below a folder, sorted by name."""
        import obstore

        with self._asking("list", f"{prefix}/" if prefix else ""):
            found = [one for some in obstore.list(self._quick, prefix or None) for one in some]
        yield from sorted(Object(one["path"], one["size"], one["last_modified"].timestamp()) for one in found)

    def strange(self, prefix: str) -> tuple[str, ...]:
        """Return what lies among the objects of a folder and is none: a pipe, a device, a folder; nothing of a bucket.

        The names are relative to the folder; none lies there where nobody ever wrote.
        """
        folder = self._folder
        if folder is None:
            return ()
        try:
            found = [one.name for one in os.scandir(folder / prefix) if not one.is_file()]
        except OSError:  # who lists it is told
            return ()
        return tuple(sorted(found))

    def sweep(self, prefix: str, before: float) -> int:
        """Remove what uploads left below a folder that broke off before a time (seconds since 1970); return its bytes.

        Folders without a file go, too. Of a bucket nothing: what is not whole is not there, the provider keeps its
        parts, and it has no folders.
        """
        if self._folder is None:
            return 0
        freed = 0
        for path in (self._folder / prefix).rglob("*#*"):
            with suppress(FileNotFoundError), fs.disk_errors(path):  # another process may sweep
                found = path.lstat()
                old = stat.S_ISREG(found.st_mode) and int(found.st_mtime) <= before
                if old and _STAGED.search(path.name):
                    path.unlink()
                    freed += found.st_size
        for folder, _, _ in os.walk(self._folder / prefix, topdown=False):
            with suppress(OSError):  # one that is not empty, which is most; who writes into it makes it again
                os.rmdir(folder)  # noqa: PTH106 - os.walk names them
        return freed

    @property
    def _folder(self) -> Path | None:
        if not self.address.startswith("file:"):
            return None
        return Path(unquote(urlsplit(self.address).path))

    def look(self, name: str, *, most: int | None = None) -> Found | None:
        """Return a small object; None where there is none. StoreError for one that has over ``most`` bytes."""
        import obstore

        try:
            with self._asking("read", name):
                got = obstore.get(self._quick, name)
                self._demand_small(name, got.meta["size"], most)
                return Found(bytes(got.bytes()), _mark(got.meta))
        except FileNotFoundError:
            return None

    def read(self, name: str, *, most: int | None = None) -> bytes | None:
        """Return the bytes of a small object; None where there is none. StoreError for over ``most``."""
        found = self.look(name, most=most)
        return found.data if found else None

    def facts(self, name: str) -> Facts | None:
        """Return what is told of an object; None where there is none."""
        import obstore

        try:
            with self._asking("read", name):
                got = obstore.get(self._quick, name, options={"head": True})
                return Facts(got.meta["size"], dict(got.attributes))
        except FileNotFoundError:
            return None

    def fetch(self, name: str, path: Path, *, most: int | None = None) -> Facts:
        """Write an object to a new file, part by part.

        MissingError where there is none; StoreError for one that has over ``most`` bytes.
        """
        import obstore

        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as stream, self._asking("read", name):
                got = obstore.get(self._long, name)
                size = got.meta["size"]
                self._demand_small(name, size, most)
                if size <= _PART:
                    stream.write(got.bytes())
                for start in range(0, size if size > _PART else 0, _PART):
                    end = min(start + _PART, size)
                    stream.write(obstore.get_range(self._long, name, start=start, end=end))
                return Facts(size, dict(got.attributes))
        except FileNotFoundError:
            raise MissingError(f"{self.address}/{name} is missing") from None

    def write(self, name: str, source: bytes | Path, sha256: str = "") -> None:
        """Put an object in the place of another, whole or not at all."""
        import obstore

        attributes = {**self._told(name), **({DIGEST: sha256} if sha256 else {})}
        with self._asking("write", name):
            if isinstance(source, bytes):
                obstore.put(self._quick, name, source, attributes=attributes, use_multipart=False)
            else:
                obstore.put(
                    self._long, name, source, attributes=attributes, chunk_size=_PART, max_concurrency=2
                )

    def create(self, name: str, data: bytes) -> UpdateVersion | None:
        """Make an object that is not there yet; None when it is, which may be by this very call."""
        return self._put(name, data, "create")

    def swap(self, name: str, data: bytes, mark: UpdateVersion) -> UpdateVersion | None:
        """Replace an object that is still as it was; None when it is not, which may be by this very call."""
        return self._put(name, data, mark)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        try:
            with self._asking("remove", name):
                obstore.delete(self._quick, name)
        except FileNotFoundError:
            pass

    def _put(self, name: str, data: bytes, mode: Literal["create"] | UpdateVersion) -> UpdateVersion | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        wanted: PutMode = mode
        with self._asking("write", name):
            try:
                done = obstore.put(
                    self._quick,
                    name,
                    data,
                    attributes=dict(self._told(name)),
                    mode=wanted,
                    use_multipart=False,
                )
            except (AlreadyExistsError, PreconditionError):
                return None
        return _mark({"e_tag": done["e_tag"], "version": done["version"]})

    def _demand_small(self, name: str, size: int, most: int | None) -> None:
        if most is not None and size > most:
            raise StoreError(f"{self.address}/{name} has {size:,} bytes; {most:,} are taken at most")

    def _demand_plain(self, name: str) -> None:
        """Raise StoreError for what is no plain file of a folder: a pipe would be waited for without an end."""
        if self._folder is None:
            return
        path = self._folder / name
        if path.exists() and not path.is_file():
            raise StoreError(f"{self.address}/{name} is no plain file")

    @contextmanager
    def _asking(self, what: str, name: str) -> Iterator[None]:
        """Turn what the storage answers into a StoreError; FileNotFoundError passes, but for a missing bucket."""
        from obstore.exceptions import BaseError

        try:
            if what == "read":
                self._demand_plain(name)
            yield
        except (BaseError, ConnectionError, TimeoutError, FileNotFoundError, PermissionError) as error:
            text = str(error)
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in text:
                raise
            on_disk = _DISK.search(text) if self._folder else None
            reason, hint = fs.known(int(on_disk[1])) if on_disk else (_reason(text), _hint(text))
            message = f"cannot {what} {self.address}/{name}: {reason}"
            raise StoreError(message, hint=hint) from None  # its own text may tell of keys


def _open(address: str, limit: timedelta, *, retries: int = 4) -> ObjectStore:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ModuleNotFoundError:
        raise extras.missing("bucket", f"{shown(address)} needs the package obstore") from None
    if has_secret(address):
        hint = "name it without; the provider's environment says who may (docs/guides/buckets.md)"
        raise PublishError(f"{address} was given with a key or a password", hint=hint)

    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    plain = any(os.environ.get(name, "").startswith("http://") for name in names)
    try:
        if address.startswith("file:"):
            return from_url(address, automatic_cleanup=True)  # of folders in which nothing is left
        return from_url(
            address,
            client_options={"timeout": limit, "connect_timeout": min(limit, _CONNECT), "allow_http": plain},
            retry_config={"max_retries": retries, "retry_timeout": _QUICK},
        )
    except (BaseError, ValueError) as error:
        if half := _HALF.match(str(error)):
            hint = "set both, or neither where the provider's own files or the machine say who may"
            raise StoreError(f"cannot open {address}: {_HALVES[half[1]]} is not set", hint=hint) from None
        hint = "name one like s3://bucket/prefix; see docs/guides/buckets.md for its settings"
        raise PublishError(f"{address} is no bucket that can be opened", hint=hint) from None


def _mark(meta: Mapping[str, object]) -> UpdateVersion:
    """Return which state of an object was seen; storages tell it by one of two fields, or both."""
    found: UpdateVersion = {}
    if tag := meta.get("e_tag"):
        found["e_tag"] = str(tag)
    if version := meta.get("version"):
        found["version"] = str(version)
    return found


def _reason(text: str) -> str:
    """Return the status and the code of an answer, and nothing else of it."""
    if any(place in text for place in _NO_KEY):
        return "no credentials were found"
    found = list(dict.fromkeys(one for pair in _STATUS.findall(text) for one in pair if one))
    return f"the storage answers {' '.join(found)}" if found else "no answer, or one that breaks off"


def _hint(text: str) -> str:
    if "NoSuchBucket" in text:
        return "make the bucket first"
    if any(place in text for place in _NO_KEY) or re.search(r"status code: 40[13]", text):
        return "check the credentials; they must let you list, read, write and delete objects there"
    return "do it again when the storage answers; see docs/guides/buckets.md"
