"""What every test stands on: no home, no network but loopback, a store of its own; a real project, an index.

What only some tests need is imported by the fixture that gives it: every worker reads this, and xdist's controller.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retread.doors.net import asking

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from loopback import Index
    from tinycuda import Project, Upstream

_count = itertools.count()
_asked: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}


def pytest_collectstart() -> None:
    """Prepare for reading the files; the controller reads none."""
    _prepare()


@functools.cache
def _prepare() -> None:
    """Let few examples do, and search for no garbage among what is there to stay."""
    from hypothesis import settings

    settings.register_profile("house", max_examples=15, deadline=None)  # the unit suite ends within 15 s
    settings.load_profile("house")
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests: who begins with one when all else is done works on alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Set what was collected aside: with it, each of pytest's and the harness's own collections takes 0.3 s."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of ``--dist each`` that it is to take a share: else it would run all that the others run."""
    node.workerinput["shares"] = node.config.getoption("dist") == "each"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over a file that is another worker's; reading a file takes a third of the time that its tests take."""
    share = _share(config)
    return True if share and collection_path.suffix == ".py" and collection_path not in share else None


@functools.cache
def _share(config: pytest.Config) -> frozenset[Path]:
    """Return the files of this worker; nothing where it takes all of them."""
    from shares import shares

    worker = getattr(config, "workerinput", {})
    if not worker.get("shares"):
        return frozenset()
    found = {path: path.stat().st_size for one in config.args for path in Path(one).resolve().rglob("*.py")}
    return shares(found, worker["workercount"])[int(worker["workerid"].removeprefix("gw"))]


@pytest.fixture(scope="session")
def homeless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home that is a file: whoever wants something below it gets an error."""
    path = tmp_path_factory.mktemp("home") / "nobody"
    path.write_text("tests have no home\n")
    return path


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Hear interrupts, and let programs hear them, also where a shell started the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, homeless: Path) -> None:
    """Keep every test away from the user's store, home, settings and (unless it is marked) network."""
    monkeypatch.setenv("RETREAD_STORE", str(homeless.parent / f"store-{next(_count)}"))  # most make none
    for name in ("GITHUB_ACTIONS", "RETREAD_ROOT", *(name for name in os.environ if name.startswith("GIT_"))):
        monkeypatch.delenv(name, raising=False)
    if request.node.get_closest_marker("network"):
        return  # the user's own index settings are needed
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(homeless))
    for name in tuple(os.environ):
        if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setattr(asking, "WAITS", (0.0, 0.0))
    _block(monkeypatch)


@pytest.fixture
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do once for all tests what every run of the command line does anew: ask pip, which takes a third of a second,
    and make the parser.
    """

    from retread.cli import main
    from retread.doors.net import settings as net_settings

    configuration = net_settings._pip_configuration

    def ask(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
        key = tuple(pair for pair in environment if pair[0].startswith("PIP_"))
        if key not in _asked:
            _asked[key] = configuration(environment)
        return _asked[key]

    monkeypatch.setattr(net_settings, "_pip_configuration", ask)
    monkeypatch.setattr(main, "parser", functools.partial(_parser, main.parser))


@functools.cache
def _parser(make: Callable[..., ArgumentParser], *command: str) -> ArgumentParser:
    return make(*command)


def _block(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {"127.0.0.1", "::1"}:
            pytest.fail(f"a test without the mark 'network' wants {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)


@pytest.fixture(scope="session")
def native_upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    """Return a project whose code is really compiled."""
    import nativecuda
    from tinycuda import make_upstream

    return make_upstream(tmp_path_factory.mktemp("native"), nativecuda.FILES)


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for gigabytes; it is gone when a file's tests are done, whatever becomes of them."""
    path = tmp_path_factory.mktemp("large")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for what is no file's own, since digests pin it: gigabytes, got and laid out once."""
    path = tmp_path_factory.mktemp("pinned")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def shared_store(large_folder: Path, pinned: Path) -> Path:
    """Return one store for all tests of a file: compile cache and environment serve all of them.

    Downloads and toolkits are those of other files, too.
    """
    return _sharing(large_folder / "store", pinned, "downloads", "toolkits")


@pytest.fixture(scope="module")
def shared_cubins(large_folder: Path, pinned: Path) -> Path:
    """Return a store for a file's tests in which nothing is but cubins: assembling those of a real wheel takes long."""
    return _sharing(large_folder / "store", pinned, "cubins")


def _sharing(store: Path, pinned: Path, *kinds: str) -> Path:
    store.mkdir()
    for kind in kinds:
        (pinned / kind).mkdir(exist_ok=True)
        (store / kind).symlink_to(pinned / kind)
    return store


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    """Return what tinycuda's upstream published."""
    from tinycuda import make_upstream

    return make_upstream(tmp_path_factory.mktemp("upstream"))


@pytest.fixture(scope="session")
def _server() -> Iterator[Index]:
    from loopback import Index

    index = Index()
    yield index
    index.stop()


@pytest.fixture
def index(_server: Index, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Return an empty index on 127.0.0.1, which is the only one that is configured."""
    _server.reset()
    monkeypatch.setenv("PIP_INDEX_URL", _server.url)
    yield _server
    _server.released.set()


@pytest.fixture
def make_project(
    tmp_path: Path,
    upstream: Upstream,
    index: Index,
    capsys: pytest.CaptureFixture[str],
    _once: None,
) -> Callable[[str], Project]:
    """Return what makes a workspace in a folder of its own; all of them share index and store."""
    from tinycuda import Project

    return lambda name: Project(tmp_path / name, upstream, index, capsys.readouterr)


@pytest.fixture
def project(make_project: Callable[[str], Project]) -> Project:
    """Return a workspace with a recipe that builds."""
    return make_project("project")


@pytest.fixture
def make_native(
    make_project: Callable[[str], Project],
    native_upstream: Upstream,
    index: Index,
    shared_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Project]:
    """Return what makes a workspace whose code is really compiled: all of a file's in one store, with what they need
    from the user's own index.
    """
    from nativecuda import native

    monkeypatch.setenv("RETREAD_STORE", str(shared_store))
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.url)

    def make(name: str) -> Project:
        project = make_project(name)
        native(project, native_upstream)
        return project

    return make
