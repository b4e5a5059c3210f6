"""What a package index offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retread import limits
from retread.address import bare
from retread.doors import fs
from retread.doors.net import asking, offers, pages, transfer
from retread.doors.net.asking import ASKING, CHECK, Wanted, reason, with_secrets
from retread.doors.net.settings import Settings
from retread.errors import FetchError

if TYPE_CHECKING:
    import requests
    from pypi_simple import ProjectPage

    from retread.doors.net.offers import Offer


def index_absence(wanted: Wanted, *, using: Settings) -> str:
    """Say why no index has the wanted file, or nothing; nothing but pages is transferred."""
    if any((folder / wanted.file).is_file() for folder in using.folders):
        return ""
    from retread.doors.net import patience

    try:
        with patience.session(using, waits=()) as session:
            locate(session, wanted, using.indexes, timeout=ASKING)
    except FetchError as error:
        return f"{error.message}: {'; '.join(error.faults)}"
    return ""


def offered(project: str, *, using: Settings) -> list[Offer]:
    """Return every sdist and wheel of a project that the user's folders and indexes name, in the order of these.

    FetchError when there is none, and when an index does not answer: it may be the one that has the newest.
    """
    from retread.doors.net import patience

    found, said = list(_in_folders(project, using.folders)), []
    with patience.session(using) as session:
        for index in using.indexes:
            try:
                page = _page(session, index, project)
            except NoPageError as error:
                if not error.absent:
                    raise FetchError(
                        f"an index does not say what it has of {project}", faults=[str(error)], hint=CHECK
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
            f"no index has anything of {project}", faults=said or ["no index is configured"], hint=CHECK
        )
    return found


def _in_folders(project: str, folders: Iterable[Path]) -> Iterator[Offer]:
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())):
        if offer := offers.read(path.name, project):
            yield offer._replace(sha256=fs.sha256(path))


def locate(
    session: requests.Session,
    wanted: Wanted,
    indexes: Iterable[str],
    timeout: float | tuple[float, float] | None = None,
) -> str:
    """Return the address of the wanted file on the first index that has a file of its name and digest."""
    said: list[str] = []
    for index in indexes:
        shown = bare(index)
        try:
            page = _page(session, index, wanted.project, timeout)
        except NoPageError as error:
            said.append(str(error))
            continue
        named = [package for package in page.packages if package.filename == wanted.file]
        for package in named:
            if package.digests.get("sha256", wanted.sha256) == wanted.sha256:
                return with_secrets(str(package.url), index)
        others = ", ".join(str(package.digests["sha256"]) for package in named)
        what = (
            f"its {wanted.file} has sha256 {others}, pinned is {wanted.sha256}"
            if named
            else f"has no file {wanted.file}"
        )
        said.append(f"{shown}: {what}")
    raise FetchError(
        f"{wanted.file} could not be found", faults=said or ["no index is configured"],
        hint=CHECK,
    )  # fmt: skip


def digests(session: requests.Session, index: str, project: str) -> dict[str, str]:
    """Return file name -> SHA-256 of what an index's page of a project lists; nothing where the page gives none.

    NoPageError when there is no page to be had.
    """
    page = _page(session, index, project)
    return {str(one.filename): str(one.digests.get("sha256", "")).lower() for one in page.packages}


_DENIED: Final = (401, 403)


class NoPageError(Exception):
    """An index gave no page of a project; ``absent`` when that is because it has none, ``denied`` where one logs in."""

    def __init__(self, index: str, why: str, *, absent: bool = False, denied: bool = False) -> None:
        super().__init__(f"{bare(index)}: {why}")
        self.absent = absent
        self.denied = denied


def _page(
    session: requests.Session, index: str, project: str, timeout: float | tuple[float, float] | None = None
) -> ProjectPage:
    """Return an index's page of a project."""
    import requests
    from pypi_simple import ACCEPT_ANY, PyPISimple

    if not index.lower().startswith(("http://", "https://")):
        raise NoPageError(index, "not an http address", absent=True)
    try:
        address = PyPISimple(index, session=session).get_project_url(project)
        accept = {"Accept": ACCEPT_ANY}
        with session.get(address, headers=accept, stream=True, timeout=timeout or asking.TIMEOUT) as response:
            if response.status_code == requests.codes.not_found:
                raise NoPageError(index, f"has no project {project}", absent=True)
            response.raise_for_status()
            if response.is_redirect:  # which a session at home does not follow
                raise NoPageError(index, "sends on to another server", absent=True)
            body = transfer.body(response, limits.PAGE)
            return pages.read(body, response.headers.get("Content-Type", ""), response.url, project)
    except requests.RequestException as error:  # some are ValueErrors
        denied = error.response is not None and error.response.status_code in _DENIED
        raise NoPageError(index, reason(error), denied=denied) from None
    except transfer.TransferError as error:
        raise NoPageError(index, str(error)) from None
    except ValueError as error:
        raise NoPageError(index, f"its page for {project} cannot be read ({error})") from None
