"""The way into an index that others run: twine's library uploads, and the index's own pages say what is there.

Credentials are where twine keeps them: ~/.pypirc, TWINE_USERNAME and TWINE_PASSWORD, the keyring. None is shown.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import functools
import io
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from retread import limits
from retread.address import bare, has_secret
from retread.doors import extras
from retread.doors.net import asking, transfer
from retread.errors import PublishError, UsageError
from retread.strict import near_miss

if TYPE_CHECKING:
    import requests
    from twine.repository import Repository
    from twine.settings import Settings as Twine

PAGES: Final = ("simple/", "+simple/")
"""Where an index has its pages, below the address that takes uploads: most have the first, devpi the second."""
_OK: Final = range(200, 300)
_CREDENTIALS: Final = "TWINE_USERNAME and TWINE_PASSWORD, the keyring, or ~/.pypirc say who may upload"
_SAID: Final = 200
"""Characters of an answer's text that are told: its first line says why."""


class Listing(NamedTuple):
    """What an index's pages say of a project."""

    files: dict[str, str]
    """File name -> SHA-256, or nothing where the page gives none."""
    absent: str = ""
    """Why there is no page of it."""


class Remote:
    """An index that takes uploads, and how it is asked.

    Every method raises PublishError when it refuses, does not answer, or sends on to another server.
    """

    def __init__(self, name: str, pages: str, say: Callable[[str], None]) -> None:
        """Take a section of ~/.pypirc or an address, and the address of the pages where it is not below that.

        UsageError for a name that nobody knows, ToolError without twine.
        """
        twine = _settings(name)
        self.address = bare(str(twine.repository_config["repository"]))
        """Where uploads go, as people may see it."""
        self.is_public = _is_public(str(twine.repository_config["repository"]))
        """Whether it is PyPI, or its twin for trying."""
        self._pages = (pages,) if pages else tuple(f"{self.address.rstrip('/')}/{one}" for one in PAGES)
        self._say = say
        self._twine = twine

    def listed(self, project: str) -> Listing:
        """Return what the index's pages list of a project."""
        from retread.doors.net import catalogue, patience
        from retread.doors.net.settings import Settings

        repository = self._repository
        using = Settings((), (), repository.session.verify, self._say)
        absent = []
        with patience.session(using, at_home=True) as session:
            session.cert = repository.session.cert
            for page in self._pages:
                if urlsplit(page).netloc == urlsplit(self.address).netloc:
                    session.auth = repository.session.auth
                try:
                    return Listing(catalogue.digests(session, page, project))
                except catalogue.NoPageError as error:
                    if not error.absent:
                        raise PublishError(
                            f"the index does not say what it has: {error}",
                            hint=_CREDENTIALS if error.denied else _AGAIN,
                        ) from None
                    absent.append(str(error))
        return Listing({}, "; ".join(absent))

    def send(self, wheel: Path) -> None:
        """Upload a wheel."""
        import requests
        from twine.exceptions import TwineException
        from twine.package import PackageFile

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                package = PackageFile.from_filename(str(wheel), None)
                response = self._repository.upload(package, max_redirects=1)
            with contextlib.closing(response):
                self._demand_taken(response)
        except TwineException as error:
            raise PublishError(f"twine does not upload it: {error}") from None
        except requests.RequestException as error:
            raise PublishError(asking.reason(error), hint=_AGAIN) from None
        except transfer.TransferError as error:
            raise PublishError(str(error), hint=_AGAIN) from None

    def _demand_taken(self, response: requests.Response) -> None:
        if response.is_redirect:
            place = bare(urljoin(response.url, response.headers["location"]))
            hint = f"if you trust it, name that address: --to {place}"
            raise PublishError(f"the index sends on to {place}; nothing was sent there", hint=hint)
        if response.status_code not in _OK:
            told = f"the index answered {response.status_code} {response.reason}"
            hint = _CREDENTIALS if response.status_code in {401, 403} else ""
            raise PublishError(told + _said(response), hint=hint)

    @functools.cached_property
    def _repository(self) -> Repository:
        """What uploads, with the credentials that there are; without any, nobody logs in."""
        from twine.exceptions import NonInteractive
        from twine.repository import Repository

        said = dict.fromkeys(("username", "password"), "")
        for name in said:
            with contextlib.suppress(NonInteractive):
                said[name] = getattr(self._twine, name) or ""
        address = str(self._twine.repository_config["repository"])
        found = Repository(address, said["username"], said["password"], disable_progress_bar=True)
        found.set_certificate_authority(self._twine.cacert)
        found.set_client_certificate(self._twine.client_cert)
        for scheme in ("http://", "https://"):
            found.session.mount(scheme, _bounded())
        found.session.stream = True  # an answer's body need not end
        return found


_AGAIN: Final = "run the same command again: it uploads what is missing"


def _settings(name: str) -> Twine:
    """Return what twine knows of an index; of its variables, TWINE_REPOSITORY and its address do not count."""
    try:
        from twine.exceptions import TwineException
        from twine.settings import Settings
    except ModuleNotFoundError:
        raise extras.missing("upload", "an upload needs the package twine") from None
    is_address = "://" in name
    if is_address and has_secret(name):
        hint = f"name it without; {_CREDENTIALS}"
        raise UsageError(f"--to: {bare(name)} was given with a user or a password", hint=hint)
    if not is_address:
        _demand_known(name)
    parser = argparse.ArgumentParser()
    Settings.register_argparse_arguments(parser)  # which read twine's variables
    said = parser.parse_args([])
    said.repository, said.repository_url = name, name if is_address else None
    said.non_interactive = said.disable_progress_bar = True
    try:
        found = Settings.from_argparse(said)
    except TwineException as error:
        raise UsageError(f"--to: {bare(name)} is no address of an index: {error}", hint=_NAME) from None
    logging.getLogger("twine").setLevel(logging.CRITICAL)  # what went wrong is told once, by us
    _take_login(found)
    return found


_NAME: Final = "name a section of ~/.pypirc, or an address like https://wheels.example/upload/"


def _demand_known(name: str) -> None:
    """Raise UsageError for a name that stands for no index in ~/.pypirc."""
    from twine import exceptions, utils

    file = Path(utils.DEFAULT_CONFIG_FILE).expanduser()
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise UsageError("~/.pypirc is no plain file", hint=_NAME)
    try:
        known = utils.get_config(utils.DEFAULT_CONFIG_FILE)
    except (OSError, configparser.Error, exceptions.UnableToReadConfigurationFile):
        raise UsageError("~/.pypirc cannot be read", hint=_NAME) from None  # its own text may hold a password
    if name not in known:
        sections = f"its index-servers are {', '.join(known)}"
        raise UsageError(
            f"--to: ~/.pypirc has no index {name!r}{near_miss(name, known)}", hint=f"{sections}; {_NAME}"
        )
    if not known[name].get("repository"):
        raise UsageError(f"--to: ~/.pypirc gives {name} no address", hint="give its section a 'repository'")


def _take_login(twine: Twine) -> None:
    """Take user and password out of the address of a section: they are sent, and not shown."""
    config = twine.repository_config
    found = urlsplit(str(config["repository"]))
    if "@" in found.netloc:
        config["repository"] = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
        for name, value in (("username", found.username), ("password", found.password)):
            if getattr(twine.auth.input, name) is None and value:
                config[name] = unquote(value)


def _is_public(address: str) -> bool:
    """Say whether an address is PyPI's, by what twine knows of it."""
    from twine import repository, utils

    own = (
        utils.DEFAULT_REPOSITORY, utils.TEST_REPOSITORY, repository.WAREHOUSE, repository.TEST_WAREHOUSE,
        repository.OLD_WAREHOUSE, repository.LEGACY_PYPI, repository.LEGACY_TEST_PYPI, repository.WAREHOUSE_WEB,
    )  # fmt: skip
    return urlsplit(address).hostname in {urlsplit(one).hostname for one in own}


def _said(response: requests.Response) -> str:
    """Return the first line of an answer that is text or JSON, which says why; nothing of a page."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind not in {"text/plain", "application/json"}:
        return ""
    try:
        text = transfer.body(response, limits.ANSWERED).decode("utf-8", "replace").strip()
    except transfer.TransferError:
        return ""
    return f": {text.splitlines()[0][:_SAID]}" if text else ""


def _bounded() -> Any:
    """Return what sends requests no slower than anybody would wait for."""
    from retread.doors.net.timely import Timely

    class Bounded(Timely):
        """What uploads; where a connection breaks it is not tried again."""

        def send(self, request: requests.PreparedRequest, *given: Any, **options: Any) -> requests.Response:
            """Send a wheel, and return the head of the answer."""
            if hasattr(request.body, "read"):
                request.body = _Paced(request.body)  # it reads as one
            options["timeout"] = (limits.CONNECT, limits.TAKEN)
            return super().send(request, *given, **options)

    return Bounded()


class _Paced:
    """What is sent, held to the pace that is waited for."""

    def __init__(self, body: Any) -> None:
        self._body, self._pace = body, transfer.Pace(time.monotonic(), "takes")

    def read(self, size: int = -1) -> bytes:
        """Return the next piece; TransferError when the last ones went too slowly."""
        piece: bytes = self._body.read(size)
        self._pace.note(len(piece), time.monotonic())
        return piece

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(1 << 16), b"")
