"""The one door to the network: find a pinned file on the user's own indexes and download it, resuming what is there.

Everything asked for is pinned by SHA-256, so it does not matter for trust which index answers. pypi-simple reads the
pages and brings the public default address; requests moves the bytes.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from retread.doors import fs, proc
from retread.doors.net import offers
from retread.errors import FetchError, ToolError
from retread.records import Sha256

if TYPE_CHECKING:
    import requests
    from pypi_simple import ProjectPage

    from retread.doors.net.offers import Offer

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0 when unknown)."""
_TIMEOUT = (20.0, 60.0)
_ASKING = 5.0
"""Seconds to wait for an answer when nothing is to be downloaded."""
_NO_HEADERS_ALONE = {405, 501}
"""Answers of a server that sends no header without the file."""
_TRUE = {"1", "true", "t", "yes", "y", "on"}
_CHECK = "check the index settings (PIP_INDEX_URL, UV_DEFAULT_INDEX, pip's configuration) and the network"
_UV_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*=")
"""uv's addresses may stand behind a name: ``internal=https://...``."""


class Wanted(NamedTuple):
    """A file pinned by digest, and the project on whose index page it stands."""

    project: str
    file: str
    sha256: Sha256


class Settings(NamedTuple):
    """Where the user has packages from: index addresses in order, local folders, a CA bundle."""

    indexes: tuple[str, ...]
    folders: tuple[Path, ...]
    verify: str | bool


def settings(environment: Mapping[str, str]) -> Settings:
    """Return the user's own settings: uv's and pip's variables first, then pip's configuration, then the default."""
    configured = _pip_configuration(tuple(sorted(environment.items())))
    first = (
        environment.get("UV_DEFAULT_INDEX")
        or environment.get("UV_INDEX_URL")
        or configured.get("index-url", "")
    )
    more = environment.get("UV_INDEX", "").split() + environment.get("UV_EXTRA_INDEX_URL", "").split()
    more += configured.get("extra-index-url", "").split()
    indexes = [_UV_NAME.sub("", address) for address in (first or _default_index(), *more)]
    links = (
        environment.get("UV_FIND_LINKS", "").replace(",", " ").split()
        + configured.get("find-links", "").split()
    )
    offline = any(
        value.lower() in _TRUE
        for value in (environment.get("UV_OFFLINE", ""), configured.get("no-index", ""))
    )
    return Settings(
        indexes=() if offline else tuple(dict.fromkeys(address for address in indexes if address)),
        folders=tuple(_folder(link) for link in links if "://" not in link or link.startswith("file:")),
        verify=environment.get("REQUESTS_CA_BUNDLE")
        or environment.get("SSL_CERT_FILE")
        or configured.get("cert")
        or True,
    )


def _default_index() -> str:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    return str(PYPI_SIMPLE_ENDPOINT)


@functools.lru_cache
def _pip_configuration(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return pip's settings without their section: its files as pip itself reads them, then its variables.

    The variables count where pip is not installed, too.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = ""
    with suppress(ToolError):
        said = proc.run(command, env=dict(environment), check=False).stdout
    found: dict[str, str] = {}
    for wanted in ("global", "install", "download"):
        for line in said.splitlines():
            name, _, value = line.partition("=")
            section, _, key = name.partition(".")
            if section == wanted:
                with suppress(ValueError, SyntaxError):
                    found[key] = str(ast.literal_eval(value)).replace("\n", " ").strip()
    for name, value in environment:
        if name.startswith("PIP_"):
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value.strip()
    return found


def _folder(link: str) -> Path:
    return Path(unquote(urlsplit(link).path)) if link.startswith("file:") else Path(link)


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
    import requests

    with requests.Session() as session:
        session.verify = using.verify
        _download(session, _locate(session, wanted, using.indexes), wanted, partial, progress)
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
            import requests

            with requests.Session() as session:
                session.verify = using.verify
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

    try:
        with requests.Session() as session:
            session.verify = using.verify
            response = session.head(address, timeout=_ASKING, allow_redirects=True)
            if response.status_code not in _NO_HEADERS_ALONE:
                response.raise_for_status()
    except requests.RequestException as error:
        return f"{where(base, path)}: {_reason(error)}"
    return ""


def index_absence(wanted: Wanted, *, using: Settings) -> str:
    """Say why no index has the wanted file, or nothing; nothing but pages is transferred."""
    if any((folder / wanted.file).is_file() for folder in using.folders):
        return ""
    import requests

    try:
        with requests.Session() as session:
            session.verify = using.verify
            _locate(session, wanted, using.indexes, timeout=_ASKING)
    except FetchError as error:
        return f"{error.message}: {'; '.join(error.faults)}"
    return ""


def offered(project: str, *, using: Settings) -> list[Offer]:
    """Return every sdist and wheel of a project that the user's folders and indexes name, in the order of these.

    FetchError when there is none, and when an index does not answer: it may be the one that has the newest.
    """
    import requests

    found, said = list(_in_folders(project, using.folders)), []
    with requests.Session() as session:
        session.verify = using.verify
        for index in using.indexes:
            try:
                page = _page(session, index, project)
            except _NoPageError as error:
                if not error.absent:
                    raise FetchError(
                        f"an index does not say what it has of {project}", faults=[str(error)], hint=_CHECK
                    ) from None
                said.append(str(error))
                continue
            read = (
                offers.read(one.filename, project, sha256=one.digests.get("sha256", ""), yanked=one.is_yanked)
                for one in page.packages
            )
            found += filter(None, read)
    if not found:
        raise FetchError(
            f"no index has anything of {project}", faults=said or ["no index is configured"], hint=_CHECK
        )
    return found


def _in_folders(project: str, folders: Iterable[Path]) -> Iterator[Offer]:
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())):
        if offer := offers.read(path.name, project):
            yield offer._replace(sha256=fs.sha256(path))


def where(base: str, path: str) -> str:
    """Return where ``path`` below ``base`` lies, as messages may show it."""
    return _without_secrets(_below(base, path))


def _base_folder(base: str) -> Path | None:
    """Return the folder that ``base`` is, None for an http address; FetchError for an address of another kind."""
    if base.startswith(("http://", "https://")):
        return None
    if "://" in base and not base.startswith("file:"):
        raise FetchError(f"{_without_secrets(base)} is neither an http address nor a folder")
    return _folder(base)


def _below(base: str, path: str) -> str:
    scheme, slashes, _ = base.partition("://")
    if not slashes or scheme == "file":
        return str(_folder(base) / path)
    with suppress(ValueError):  # an address that cannot be taken apart is refused when it is used
        parts = urlsplit(base)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl()
    return base


def _locate(
    session: requests.Session,
    wanted: Wanted,
    indexes: Iterable[str],
    timeout: float | tuple[float, float] | None = None,
) -> str:
    """Return the address of the wanted file on the first index that has a file of its name and digest."""
    said: list[str] = []
    for index in indexes:
        shown = _without_secrets(index)
        try:
            page = _page(session, index, wanted.project, timeout)
        except _NoPageError as error:
            said.append(str(error))
            continue
        named = [package for package in page.packages if package.filename == wanted.file]
        for package in named:
            if package.digests.get("sha256", wanted.sha256) == wanted.sha256:
                return _with_secrets(str(package.url), index)
        others = ", ".join(str(package.digests["sha256"]) for package in named)
        what = (
            f"its {wanted.file} has sha256 {others}, pinned is {wanted.sha256}"
            if named
            else f"has no file {wanted.file}"
        )
        said.append(f"{shown}: {what}")
    raise FetchError(
        f"{wanted.file} could not be found", faults=said or ["no index is configured"],
        hint=_CHECK,
    )  # fmt: skip


class _NoPageError(Exception):
    """An index gave no page of a project; ``absent`` when that is because it has none."""

    def __init__(self, index: str, why: str, *, absent: bool = False) -> None:
        super().__init__(f"{_without_secrets(index)}: {why}")
        self.absent = absent


def _page(
    session: requests.Session, index: str, project: str, timeout: float | tuple[float, float] | None = None
) -> ProjectPage:
    """Return an index's page of a project."""
    import requests
    from pypi_simple import NoSuchProjectError, PyPISimple, UnsupportedRepoVersionError

    if not index.startswith(("http://", "https://")):
        raise _NoPageError(index, "not an http address", absent=True)
    try:
        return PyPISimple(index, session=session).get_project_page(project, timeout=timeout or _TIMEOUT)
    except NoSuchProjectError:
        raise _NoPageError(index, f"has no project {project}", absent=True) from None
    except (ValueError, UnsupportedRepoVersionError) as error:  # its text may hold the whole address
        raise _NoPageError(index, f"its page for {project} cannot be read ({type(error).__name__})") from None
    except requests.RequestException as error:
        raise _NoPageError(index, _reason(error)) from None


def _download(
    session: requests.Session, address: str, wanted: Wanted, partial: Path, progress: Progress
) -> None:
    import requests

    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with session.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # complete already, or longer than the file: the digest decides
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0
            total = have + int(response.headers.get("Content-Length", 0))
            with fs.disk_errors(partial), partial.open("r+b" if have else "wb") as stream:
                stream.seek(have)
                for chunk in response.iter_content(fs.CHUNK):
                    stream.write(chunk)
                    have += len(chunk)
                    progress(have, total)
    except requests.RequestException as error:
        raise FetchError(
            f"the download of {wanted.file} stopped after {have:,} bytes: {_reason(error)}",
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


def _reason(error: Exception) -> str:
    from requests import ConnectionError as NoConnection
    from requests import HTTPError, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    if isinstance(error, NoConnection):
        return "no connection"
    return f"the connection broke ({type(error).__name__})"


def _without_secrets(address: str) -> str:
    """Return an address as messages may show it: no user, no password, no query."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0].partition('#')[0]}"


def _with_secrets(address: str, index: str) -> str:
    """Return a file's address with the user and password of its index, if it is on the same host."""
    file, page = urlsplit(address), urlsplit(index)
    secrets, at, host = page.netloc.rpartition("@")
    if at and (file.scheme, file.netloc) == (page.scheme, host):
        return file._replace(netloc=f"{secrets}@{host}").geturl()
    return address
