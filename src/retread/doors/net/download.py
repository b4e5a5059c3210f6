"""The one door to the network: find a pinned file on the user's own indexes and download it, resuming what is there.

Everything asked for is pinned by SHA-256, so it does not matter for trust which index answers. pypi-simple reads the
pages and brings the public default address; requests moves the bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from retread import limits, units
from retread.address import bare
from retread.doors import fs
from retread.doors.net import asking, transfer
from retread.doors.net.asking import ASKING, Wanted, reason
from retread.doors.net.catalogue import locate
from retread.doors.net.settings import Settings, folder_of
from retread.errors import FetchError

if TYPE_CHECKING:
    import requests


Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0 when unknown)."""
_NO_HEADERS_ALONE = {405, 501}
"""Answers of a server that sends no header without the file."""


def fetch(wanted: Wanted, partial: Path, *, using: Settings, progress: Progress) -> None:
    """Complete ``partial`` to the wanted file, going on from the bytes that it already has.

    FetchError when no index has the file, when the network fails (what arrived stays for the next run), and when the
    digest is another one (what arrived is removed).
    """
    for folder in using.folders:
        local = folder / wanted.file
        if local.is_file() and fs.sha256(local) == wanted.sha256:
            shutil.copyfile(local, partial)
            return
    from retread.doors.net import patience

    with patience.session(using) as session:
        _download(session, locate(session, wanted, using.indexes), wanted, partial, progress)
    _check(wanted, partial)


def fetch_from(
    base: str, path: str, wanted: Wanted, partial: Path, *, using: Settings, progress: Progress
) -> None:
    """Complete ``partial`` to the wanted file, which lies at ``path`` below ``base``: an http address or a folder.

    FetchError names the place, and is of the same kinds as that of ``fetch``.
    """
    try:
        if (folder := _base_folder(base)) is not None:
            if not (folder / path).is_file():
                raise FetchError(f"there is no file {folder / path}")
            shutil.copyfile(folder / path, partial)
        else:
            from retread.doors.net import patience

            with patience.session(using) as session:
                _download(session, _below(base, path), wanted, partial, progress)
        _check(wanted, partial)
    except FetchError as error:
        raise FetchError(
            f"{wanted.file} could not be had from {where(base, path)}",
            faults=[error.message],
            hint=error.hint,
        ) from None


def absence(base: str, path: str, *, using: Settings) -> str:
    """Say why nothing is to be had at ``path`` below ``base``, or nothing; at most the header is transferred."""
    try:
        if (folder := _base_folder(base)) is not None:
            return "" if (folder / path).is_file() else f"there is no file {folder / path}"
        address = _below(base, path)
    except FetchError as error:
        return error.message
    import requests

    from retread.doors.net import patience

    try:
        with patience.session(using, waits=()) as session:
            response = session.head(address, timeout=ASKING, allow_redirects=True)
            if response.status_code not in _NO_HEADERS_ALONE:
                response.raise_for_status()
    except requests.RequestException as error:
        return f"{where(base, path)}: {reason(error)}"
    return ""


def where(base: str, path: str) -> str:
    """Return where ``path`` below ``base`` lies, as messages may show it."""
    return bare(_below(base, path))


def _base_folder(base: str) -> Path | None:
    """Return the folder that ``base`` is, None for an http address; FetchError for an address of another kind."""
    if base.startswith(("http://", "https://")):
        return None
    if "://" in base and not base.startswith("file:"):
        raise FetchError(f"{base} is neither an http address nor a folder")
    return folder_of(base)


def _below(base: str, path: str) -> str:
    scheme, slashes, _ = base.partition("://")
    if not slashes or scheme == "file":
        return str(folder_of(base) / path)
    with suppress(ValueError):  # an address that cannot be taken apart is refused when it is used
        parts = urlsplit(base)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl()
    return base


def _download(
    session: requests.Session, address: str, wanted: Wanted, partial: Path, progress: Progress
) -> None:
    import requests

    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with session.get(address, headers=headers, stream=True, timeout=asking.TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # complete already, or longer than the file: the digest decides
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0
            total = have + transfer.announced(response)
            if total > limits.DOWNLOAD:
                raise transfer.TransferError(f"the server announces {units.size(total)}")
            with fs.disk_errors(partial), partial.open("r+b" if have else "wb") as stream:
                stream.seek(have)
                for chunk in transfer.pieces(response, limits.DOWNLOAD - have):
                    stream.write(chunk)
                    have += len(chunk)
                    progress(have, total)
    except (requests.RequestException, transfer.TransferError) as error:
        why = str(error) if isinstance(error, transfer.TransferError) else reason(error)
        raise FetchError(
            f"the download of {wanted.file} stopped after {have:,} bytes: {why}",
            hint="run the same command again; it goes on from there",
        ) from None


def _check(wanted: Wanted, partial: Path) -> None:
    found = fs.sha256(partial) if partial.exists() else "nothing"
    if found != wanted.sha256:
        size = partial.stat().st_size if partial.exists() else 0
        partial.unlink(missing_ok=True)
        raise FetchError(
            f"{wanted.file} is not what the recipe pins: sha256 {found} ({size:,} bytes), pinned {wanted.sha256}",
            hint="run it again in case the transfer was bad; if it stays so, another file is served",
        )
