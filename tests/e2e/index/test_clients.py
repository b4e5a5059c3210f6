"""What real installers make of an index, version by version, behind a real nginx: it writes the page of clients."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import webservers
from clients import Client, Done, Trial, get
from loopback import Index as Public
from retread.index import actions
from tinycuda import record, sha256, zip_bytes
from tinyindex import Shelf, make_keys
from webservers import Served

pytestmark = [pytest.mark.network, pytest.mark.slow]

CLIENTS = ("pip", "pip==26.1.2", "pip==24.0", "uv", "uv==0.12.15", "uv==0.9.30", "poetry")
"""The newest as it is today; the last pip that does not compare a sidecar with its wheel, and the pip of Python 3.12;
the last uv that does not compare a wheel with its page, and the oldest uv that retread itself works with.
"""
JSON = "application/vnd.pypi.simple.v1+json"
TABLE = Path(__file__).parents[3] / "docs" / "reference" / "clients.md"
BROKEN = ("lost", "lies", "edited", "swapped", "malformed")
STEP = 10
"""Days from one revision to the next."""
CUT = datetime(2025, 12, 27, tzinfo=UTC)
"""After revision 9 and before revision 10."""
HIGHEST = "0.0.35+cu128.10"
PINNED = "pinnedcuda==1.1+cu128.1"
INTRO = """# What installers make of an index

`RETREAD_WRITE_TABLES=1 pytest tests/e2e/index/test_clients.py` writes this page: every cell was tried, with real
clients and an index of small wheels behind nginx with the [shipped configuration](../serving/nginx.conf). Where a case
says *public*, a second index that plays the public one has the name too, in a higher version.

"""


def wheel(folder: Path, project: str, version: str, *lines: str) -> Path:
    """Write a small wheel whose METADATA has some more lines."""
    stem = f"{project}-{version}"
    info = f"{stem}.dist-info"
    head = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}", *lines]
    files = {
        f"{project}.py": f"VERSION = {version!r}\n".encode(),
        f"{info}/METADATA": ("\n".join(head) + "\n").encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    path.write_bytes(zip_bytes({**files, f"{info}/RECORD": record(files, info)}))
    return path


def make_index(folder: Path) -> Path:
    """Publish what the cases need."""
    shelf = Shelf(folder, make_keys(folder / "keys"))
    batches: dict[str, list[Path]] = {}

    def add(project: str, version: str, *lines: str) -> None:
        revision = version.rpartition(".")[2]
        batches.setdefault(revision, []).append(wheel(folder / "dist", project, version, *lines))

    for project in ("tinycuda", "rangecuda", "samecuda", "depcuda"):
        for version in ("0.0.34+cu128.1", "0.0.35+cu128.2", "0.0.35+cu128.9", "0.0.35+cu128.10"):
            add(project, version)
    add("needscuda", "1.0+cu128.1", "Requires-Dist: depcuda==0.0.35")
    add("backcuda", "1.0+cu128.1", "Requires-Dist: depcuda")
    add("backcuda", "2.0+cu128.1", "Requires-Dist: depcuda<0.0.35")
    add("oldcuda", "1.0+cu128.1", "Requires-Python: >=3.9")
    add("oldcuda", "2.0+cu128.1", "Requires-Python: >=3.99")
    for project in ("yankedcuda", "pinnedcuda"):
        for version in ("1.0+cu128.1", "1.1+cu128.1"):
            add(project, version)
    for project in ("emptycuda", *(f"{one}cuda" for one in BROKEN)):
        add(project, "1.0+cu128.1")
    for revision in sorted(batches, key=int):
        shelf.now += STEP * 86400
        shelf.publish(*batches[revision], policy=None, unproven="tests of the index")
    for project in ("yankedcuda", "pinnedcuda"):
        shelf.act(actions.yank, project, "1.1+cu128.1", "wrong results")
    shelf.act(actions.remove, "emptycuda", "1.0+cu128.1", "to have a name without files")
    return shelf.root


def damage(root: Path) -> None:
    """Break five projects of an index, each in its own way."""
    _file(root, "lostcuda", ".metadata").unlink()
    lie = _file(root, "liescuda", ".metadata").read_bytes() + b"Requires-Dist: tinycuda\n"
    _write(_file(root, "liescuda", ".metadata"), lie)
    _edit(root, "liescuda", lambda one: one.update({"core-metadata": {"sha256": sha256(lie)}}))
    edited = _file(root, "editedcuda", ".metadata")
    _write(edited, edited.read_bytes() + b"Requires-Dist: tinycuda\n")
    swapped = _file(root, "swappedcuda", "")
    shutil.copy(wheel(root.parent / "other", "swappedcuda", "1.0+cu128.1", "Summary: other"), swapped)
    _edit(root, "malformedcuda", None)


def _file(root: Path, project: str, suffix: str) -> Path:
    return next(root.glob(f"files/*/*/{project}-*.whl{suffix}"))


def _write(path: Path, data: bytes) -> None:
    path.unlink()  # it is read-only
    path.write_bytes(data)


def _edit(root: Path, project: str, change: Callable[[dict[str, Any]], Any] | None) -> None:
    """Change the entry of a project's page; without ``change`` a second one comes to it, which has no address."""
    page = root / "cu128" / "simple" / project / "index.json"
    model = json.loads(page.read_text())
    if change:
        change(model["files"][0])
        model["files"][0].pop("data-dist-info-metadata", None)
    else:
        model["files"].append({"filename": f"{project}-0.9+cu128.1-py3-none-any.whl", "hashes": {}})
    page.write_text(json.dumps(model))


class Servers(NamedTuple):
    """The index and what can be wrong with one."""

    good: Served
    broken: Served
    typed: Served
    """Serves JSON as application/json."""
    plain: Served
    """Serves HTML alone, as hosts of static pages do."""
    public: Public
    """Plays the public index: it has every name, in a higher version."""
    failing: Public
    """Plays a private index that is in trouble."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("clients")
    root = make_index(folder)
    bad = folder / "bad" / "index"
    shutil.copytree(root, bad, symlinks=True)
    damage(bad)
    edits: dict[str, tuple[Path, webservers.Edit]] = {
        "good": (root, lambda text: text),
        "broken": (bad, lambda text: text),
        "typed": (root, lambda text: text.replace(f"default_type {JSON}", "default_type application/json")),
        "plain": (root, lambda text: text.replace("/-$retread_face$uri", "/-html$uri")),
    }
    with ExitStack() as stack:
        started = []
        for name, (index, edit) in edits.items():
            (folder / name).mkdir()
            started.append(stack.enter_context(webservers.nginx(index, folder / name, edit)))
        for one in (public := Public(), failing := Public()):
            stack.callback(one.stop)
        for project in ("tinycuda", "emptycuda"):
            made = wheel(folder / "public", project, "9.9")
            public.files[project] = {made.name: made.read_bytes()}
        yield Servers(*started, public, failing)


class Table:
    """What each client made of each case."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = [str(one) for one in clients]
        self._rows: dict[str, dict[str, str]] = {}

    def note(self, client: Client, case: str, result: str) -> None:
        """Fill a cell."""
        self._rows.setdefault(case, {})[str(client)] = result

    def text(self) -> str:
        """Return the table as Markdown."""
        lines = [["case", *self._clients], ["---"] * (len(self._clients) + 1)]
        lines += [[case, *(row.get(one, "") for one in self._clients)] for case, row in self._rows.items()]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Client]:
    folder = tmp_path_factory.mktemp("installers")
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CLIENTS, pool.map(lambda wanted: get(wanted, folder / wanted), CLIENTS), strict=True))


@pytest.fixture(scope="module")
def table(clients: dict[str, Client], request: pytest.FixtureRequest) -> Iterator[Table]:
    """Collect what is found, and write it down when it is asked for and nothing failed."""
    made, failed = Table(list(clients.values())), request.session.testsfailed
    yield made
    if os.environ.get("RETREAD_WRITE_TABLES") and request.session.testsfailed == failed:
        TABLE.write_text(INTRO + made.text())


Note = Callable[[str, str], None]


@pytest.fixture(params=CLIENTS)
def trial(
    request: pytest.FixtureRequest, clients: dict[str, Client], servers: Servers, tmp_path: Path
) -> Trial:
    servers.good.asked()
    return Trial(clients[request.param], tmp_path)


@pytest.fixture
def note(trial: Trial, table: Table) -> Note:
    """Return what notes the result of a case, for the client that is tried."""
    return lambda case, result: table.note(trial.client, case, result)


# What works.


class Sound(NamedTuple):
    """What came of one install of all that ought to work; it is made once for each client."""

    done: Done
    asked: list[str]


@pytest.fixture(scope="module")
def sounds() -> dict[Client, Sound]:
    return {}


@pytest.fixture
def sound(trial: Trial, servers: Servers, sounds: dict[Client, Sound]) -> Sound:
    if trial.client not in sounds:
        wanted = ("tinycuda==0.0.35", "rangecuda>=0.0.34,<0.0.36", "samecuda~=0.0.34", "needscuda")
        wanted += ("backcuda", "depcuda==0.0.35", "oldcuda", "yankedcuda", PINNED)
        sounds[trial.client] = Sound(trial.install(*wanted, index=servers.good.url), servers.good.asked())
    return sounds[trial.client]


def test_the_highest_revision_is_taken(sound: Sound, note: Note) -> None:
    taken = {
        one: sound.done.installed[one]
        for one in ("tinycuda", "rangecuda", "samecuda", "depcuda", "needscuda")
    }
    assert taken == {**dict.fromkeys(taken, HIGHEST), "needscuda": "1.0+cu128.1"}
    for one in ("`==0.0.35`", "`>=0.0.34,<0.0.36`", "`~=0.0.34`", "a wheel that requires `==0.0.35`"):
        note(f"{one}, of .2, .9 and .10", "takes .10")


def test_a_candidate_that_does_not_fit_is_never_downloaded(sound: Sound, note: Note) -> None:
    assert sound.done.installed["backcuda"] == "1.0+cu128.1"
    passed_over = "backcuda-2.0+cu128.1-py3-none-any.whl"
    assert f"{passed_over}.metadata" in sound.asked
    assert passed_over not in sound.asked
    note("a version is tried that does not fit", "reads its metadata alone")


def test_what_needs_another_python_is_passed_over(sound: Sound, note: Note) -> None:
    assert sound.done.installed["oldcuda"] == "1.0+cu128.1"
    note("the newest version requires a newer Python", "takes the one before")


def test_a_yanked_version_is_passed_over_unless_it_is_named(sound: Sound, note: Note) -> None:
    assert sound.done.installed["yankedcuda"] == "1.0+cu128.1"
    note("the newest version is yanked", "takes the one before")
    assert sound.done.installed["pinnedcuda"] == "1.1+cu128.1"
    assert re.search(r"pinnedcuda.*yanked.*wrong results", sound.done.output)
    note("`==1.1+cu128.1`, which is yanked", "installs it and warns")


def test_a_yanked_version_without_its_local_part(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("yankedcuda==1.1", index=servers.good.url)
    assert re.search(r"yanked.*wrong results", done.output)
    assert done.refused is (trial.client.name == "uv")
    note("`==1.1`, of which all is yanked", "refuses" if done.refused else "installs it and warns")


def test_the_time_can_be_turned_back(trial: Trial, servers: Servers, note: Note) -> None:
    case = "no newer than between .9 and .10"
    if trial.client.name == "poetry":
        days = (datetime.now(UTC) - CUT).days
        trial.settings["POETRY_SOLVER_MIN_RELEASE_AGE"] = str(days)
        done = trial.install("tinycuda", index=servers.good.url)
    elif trial.client.name == "pip" and not trial.client.since("26"):
        note(case, "cannot")
        return
    else:
        done = trial.install("tinycuda", index=servers.good.url, options=until(trial.client))
    assert done.installed == {"tinycuda": "0.0.35+cu128.9"}
    note(case, "takes .9")


def until(client: Client) -> list[str]:
    """Return the option that passes over what was uploaded after CUT."""
    option = {"pip": "--uploaded-prior-to", "uv": "--exclude-newer"}[client.name]
    return [option, CUT.strftime("%Y-%m-%dT%H:%M:%SZ")]


# Locks.


def test_a_lock_installs_these_bytes_and_no_others(trial: Trial, servers: Servers, note: Note) -> None:
    frozen, lock = make_lock(trial, servers.good.url)
    downloads = any(one.endswith(".whl") for one in servers.good.asked())
    assert downloads is (trial.client.name == "pip" and not trial.client.since("26"))
    note("resolves without installing", "downloads the wheels" if downloads else "reads metadata alone")
    done = trial.run(*frozen)
    assert done.installed == {"tinycuda": HIGHEST, "pinnedcuda": "1.1+cu128.1"}
    note("a lock with hashes", "installs")
    told = "wrong results" in done.output
    assert told is (trial.client.name != "uv")
    note("a lock with a wheel that is yanked", f"installs it and {'warns' if told else 'says nothing'}")
    spoil(lock, sha256_of=r"tinycuda(?:(?!sha256).)*")
    make_room(trial)
    done = trial.run(*frozen)
    assert done.code != 0
    assert "tinycuda" not in done.installed
    note("a lock of other bytes", "refuses")


def spoil(lock: Path, sha256_of: str) -> None:
    """Change the first digest behind a pattern."""
    text, count = re.subn(
        rf"({sha256_of}sha256:)\w{{8}}", r"\g<1>00000000", lock.read_text(), count=1, flags=re.DOTALL
    )
    assert count == 1
    lock.write_text(text)


def make_lock(trial: Trial, index: str) -> tuple[list[str], Path]:
    """Lock two wheels; return the command that installs exactly these, and the lock."""
    wanted = ("tinycuda==0.0.35", PINNED)
    trial.empty()
    match trial.client.name:
        case "uv":
            trial.project(wanted)
            done = trial.run("lock", *trial.indexes(index))
            frozen, lock = ["sync", "--frozen", "--no-cache"], "uv.lock"
        case "poetry":
            trial.poetry_project(wanted, index=index)
            done = trial.run("lock")
            frozen, lock = ["install", "--no-root", "--no-cache"], "poetry.lock"
        case _:
            done = trial.run(*trial.line(), "--dry-run", "--report", "report", *trial.indexes(index), *wanted)
            report = json.loads((trial.folder / "report").read_text())
            (trial.folder / "requirements.txt").write_text("".join(map(pinned, report["install"])))
            frozen, lock = [*trial.line(), *trial.indexes(index)], "requirements.txt"
            frozen += ["--no-cache-dir", "--require-hashes", "--requirement", lock]
    assert done.code == 0, done.output
    return frozen, trial.folder / lock


def pinned(one: dict[str, Any]) -> str:
    """Return a line of requirements for what pip would install."""
    metadata, digest = one["metadata"], one["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{digest}\n"


def make_room(trial: Trial) -> None:
    """Empty the environment, which keeps its path."""
    shutil.rmtree(trial.site)
    trial.site.mkdir()


# Another index that has the same names.


def test_a_name_without_files_does_not_fall_through(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("emptycuda", index=servers.good.url, public=servers.public.url)
    assert done.refused is (trial.client.name == "uv")
    note("an owned name without files; *public*", "refuses" if done.refused else "**takes the public one**")


def test_which_index_wins(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("tinycuda", index=servers.good.url, public=servers.public.url)
    public = trial.client.name == "pip"
    assert done.installed == {"tinycuda": "9.9" if public else HIGHEST}
    note("both have it; *public*", "**takes the public one**" if public else "takes ours")


@pytest.mark.parametrize("status", [403, 500])
def test_an_index_in_trouble_falls_through_in_pip(
    trial: Trial, servers: Servers, note: Note, status: int
) -> None:
    servers.failing.status["/simple/tinycuda/"] = status
    done = trial.install("tinycuda", index=servers.failing.url, public=servers.public.url)
    falls = trial.client.name == "pip" or (trial.client.name == "poetry" and status < 500)
    assert done.installed == ({"tinycuda": "9.9"} if falls else {})
    assert (done.code == 0) is falls
    note(f"our index answers {status}; *public*", "**takes the public one**" if falls else "refuses")


@pytest.mark.parametrize("name", ["emptycuda", "tinycuda"])
def test_what_the_project_page_advises_never_falls_through(
    trial: Trial, servers: Servers, note: Note, name: str
) -> None:
    """Ours is the only index (pip), or the only one for this name (uv, poetry)."""
    servers.failing.status["/simple/tinycuda/"] = 403
    index = servers.good.url if name == "emptycuda" else servers.failing.url
    public = servers.public.url
    trial.empty()
    match trial.client.name:
        case "pip":
            done = trial.install(name, index=index)
        case "poetry":
            trial.poetry_project([name], index=index, public=public, bound=True)
            done = trial.run("lock")
        case _:
            ours = f'[[tool.uv.index]]\nname = "ours"\nurl = "{index}"\nexplicit = true\n'
            trial.project([name], f'{ours}[tool.uv.sources]\n{name} = {{ index = "ours" }}\n')
            trial.settings["UV_NO_CONFIG"] = ""
            done = trial.run("lock", "--default-index", public)
    assert done.refused
    assert not list(trial.folder.glob("*.lock"))
    what = "an owned name without files" if name == "emptycuda" else "our index answers 403"
    note(f"{what}; *public*, as our pages advise", "refuses")


# Indexes that are wrong.


def test_another_content_type_is_refused(trial: Trial, servers: Servers, note: Note) -> None:
    assert trial.install("tinycuda", index=servers.typed.url).refused
    note("JSON served as `application/json`", "refuses")


def test_html_alone_is_enough_but_has_no_times(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("tinycuda==0.0.35", index=servers.plain.url)
    assert done.installed == {"tinycuda": HIGHEST}
    assert f"tinycuda-{HIGHEST}-py3-none-any.whl.metadata" in servers.plain.asked()
    note("HTML alone (static hosts)", "installs")


def test_metadata_that_is_announced_has_to_be_there(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("lostcuda", index=servers.broken.url)
    assert done.refused is (trial.client.name != "poetry")
    note("announced metadata is missing", "refuses" if done.refused else "reads the wheel")


def test_metadata_that_the_wheel_does_not_have(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("liescuda", index=servers.broken.url)
    careful = trial.client.name == "pip" and trial.client.since("26.2")
    assert done.refused is careful
    assert ("tinycuda" in done.installed) is not careful
    note(
        "metadata differs from the wheel's, page agrees",
        "refuses" if careful else "**installs what it requires**",
    )


def test_metadata_that_the_page_does_not_announce(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("editedcuda", index=servers.broken.url)
    believes = trial.client.name == "uv" and not trial.client.since("0.12.13")
    assert ("tinycuda" in done.installed) is believes
    assert done.refused is (not believes and trial.client.name != "poetry")
    told = "refuses" if done.refused else "**installs what it requires**" if believes else "reads the wheel"
    note("metadata differs from its digest on the page", told)


def test_a_wheel_that_the_page_does_not_announce(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("swappedcuda", index=servers.broken.url)
    careless = trial.client.name == "uv" and not trial.client.since("0.12.16")
    assert done.refused is not careless
    note("the wheel differs from its digest on the page", "**installs it**" if careless else "refuses")


def test_a_page_with_one_malformed_file(trial: Trial, servers: Servers, note: Note) -> None:
    done = trial.install("malformedcuda", index=servers.broken.url)
    assert done.refused is (trial.client.name != "pip")
    note("one entry of a page has no address", "refuses the page" if done.refused else "passes it over")


def test_files_without_a_time(trial: Trial, servers: Servers, note: Note) -> None:
    case = "HTML alone, and a limit of time is set"
    if trial.client.name == "poetry":
        trial.settings["POETRY_SOLVER_MIN_RELEASE_AGE"] = "100000"
        done = trial.install("tinycuda", index=servers.plain.url)
    elif trial.client.name == "pip" and not trial.client.since("26"):
        note(case, "cannot")
        return
    else:
        done = trial.install("tinycuda", index=servers.plain.url, options=until(trial.client))
    assert done.refused is (trial.client.name != "poetry")
    note(case, "refuses" if done.refused else "**ignores the limit**")
