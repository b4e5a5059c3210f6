from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retread.errors import UsageError
from retread.lockfile import readers
from retread.lockfile.pin import Locked
from retread.lockfile.readers import Installed

LOCKS = Path(__file__).parents[2] / "data" / "locks"
X86 = "3b863a796b4f20ada1458b1255c7b0aa05f80d316b13217aeefc89fcf56d2b3f"
ARM = "f4a848694d92d6eba1491b3109a3d6058331c3c057fd8595ee1a53f19d9631f8"
INDEX = "https://wheels.example/cu128/simple"
REAL = sorted(path.name for path in LOCKS.iterdir() if path.name != "make.py")


def read(text: str, name: str = "requirements.txt") -> tuple[Locked, ...]:
    return readers.read(text.encode(), name=name)


def refusal(text: str | bytes, name: str = "requirements.txt") -> UsageError:
    with pytest.raises(UsageError) as caught:
        readers.read(text if isinstance(text, bytes) else text.encode(), name=name)
    return caught.value


def real(name: str) -> str:
    return (LOCKS / name).read_text("utf-8")


# What the tools wrote.


@pytest.mark.parametrize("name", REAL)
def test_every_tool_locks_the_same_versions_and_digests(name: str) -> None:
    assert [(one.project, one.version) for one in read(real(name), name)] == [
        ("tyre-demo", "0.0.35+cu128.1"),
        ("tyre-gauge", "1.2"),
        ("tyre-rim", "2.0.post1"),
    ]
    found = {digest for one in read(real(name), name) if one.project == "tyre-demo" for digest in one.sha256s}
    wanted = {"pylock.toml": {X86}, "requirements-bare.txt": set[str]()}  # pip locks for one machine
    assert found == wanted.get(name, {X86, ARM})


@pytest.mark.parametrize(
    "name", ["uv.lock", "poetry.lock", "pylock.toml", "pylock.uv.toml", "pylock.export.toml"]
)
def test_file_names_are_told_as_they_are(name: str) -> None:
    first = read(real(name), name)[0]
    assert "tyre_demo-0.0.35+cu128.1-py3-none-manylinux_2_28_x86_64.whl" in first.files


def test_the_index_is_told_where_the_lock_says_it() -> None:
    silent = {"pylock.toml", "pylock.uv.toml", "requirements-bare.txt"}
    told = {name: read(real(name), name)[0].source.rstrip("/") for name in REAL}
    assert told == {name: "" if name in silent else INDEX for name in REAL}


@pytest.mark.parametrize("name", REAL)
def test_neither_name_nor_line_ends_nor_byte_order_marks_matter(name: str) -> None:
    assert read(real(name), "folder/locked") == read(real(name), name)
    windows = b"\xef\xbb\xbf" + real(name).replace("\n", "\r\n").encode()
    assert readers.read(windows, name=f"C:\\work\\{name}") == read(real(name), name)


def test_the_project_itself_is_not_something_that_is_locked() -> None:
    assert 'name = "garage"' in real("uv.lock")
    assert "garage" not in {one.project for one in read(real("uv.lock"), "uv.lock")}


# What is not understood is refused.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "lock"),
        ("hello\n", "notes.md"),
        ("[project]\nname = 'demo'\n", "pyproject.toml"),
        ('version = 4\n[[package]]\nname = "demo"\nversion = "1.0.0"\n', "Cargo.lock"),
        ('{"lockfileVersion": 3}', "package-lock.json"),
    ],
)
def test_other_files_are_refused_with_the_kinds_that_are_read(text: str, name: str) -> None:
    error = refusal(text, name)
    assert error.message == f"{name} is no lock file that retread knows"
    assert error.hint == "it reads uv.lock, pylock.toml, poetry.lock, Pipfile.lock, requirements.txt"


def test_a_text_that_is_not_utf_8_is_told_with_its_line() -> None:
    assert refusal(b"demo==1\n\xff\xfe\n").message == "requirements.txt, line 2: not UTF-8"


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "pylock.toml", "pylock.export.toml"])
def test_a_lock_that_was_cut_off_is_told_with_its_line(name: str) -> None:
    text = real(name)
    cut = text[: text.rindex("sha256") + 12]
    (fault,) = refusal(cut, name).faults
    assert "at end of document" in fault or f"line {cut.count(chr(10)) + 1}" in fault


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "pylock.toml", "pylock.uv.toml"])
def test_a_damaged_digest_is_told_with_the_line_of_its_package(name: str) -> None:
    text = real(name).replace(X86, X86[:-1])
    header = "[[packages]]" if name.startswith("pylock") else "[[package]]"
    lines = text[: text.index(X86[:-1])].split("\n")
    line = max(number for number, line in enumerate(lines, start=1) if line == header)
    (fault,) = refusal(text, name).faults
    assert fault.startswith(f"line {line}: {header.strip('[]')}[")
    assert fault.endswith(f"'{X86[:-1]}' is not a sha256")


def test_a_damaged_pipfile_lock_is_told_with_its_package() -> None:
    (fault,) = refusal(real("Pipfile.lock").replace(X86, "00"), "Pipfile.lock").faults
    assert fault == "package[0] (tyre-demo): '00' is not a sha256"
    (fault,) = refusal(real("Pipfile.lock")[:-20], "Pipfile.lock").faults
    assert "line 41" in fault
    assert refusal("[]", "Pipfile.lock").message == "Pipfile.lock cannot be read as Pipfile.lock"


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("uv.lock", "version = 1\n", "version = 2\n", "version: expected 1, got 2"),
        ("poetry.lock", '"2.1"', '"3.0"', "metadata.lock-version: expected 2, got '3.0'"),
        ("poetry.lock", '"2.1"', '"1.1"', "metadata.lock-version: expected 2, got '1.1'"),
        ("pylock.toml", '"1.0"', '"2.0"', "lock-version: expected 1.0, got '2.0'"),
        ("uv.lock", 'version = "1.2"', 'version = "one"', "line 28: package[2] (tyre-gauge): Invalid version: 'one'"),
        ("uv.lock", 'version = "1.2"\n', "", "line 28: package[2] (tyre-gauge): version: missing"),
        ("uv.lock", 'name = "tyre-gauge"\nv', 'name = "tyre gauge"\nv',
         "line 28: package[2] (tyre gauge): name is invalid: 'tyre gauge'"),
        ("poetry.lock", 'files = [\n    {file = "tyre_gauge', 'files = 1\nfiles2 = [\n    {file = "tyre_gauge',
         "line 23: package[1] (tyre-gauge): Expected `array`, got `int` - at `$.files`"),
        ("pylock.toml", 'name = "tyre_gauge-1.2', 'name = "tyre_gauge-1.3',
         "line 15: Version in 'tyre_gauge-1.3-py3-none-any.whl' is not consistent with package version '1.2' "
         "in 'packages[1].wheels[0]'"),
    ],
)  # fmt: skip
def test_a_newer_format_or_a_wrong_field_is_refused(name: str, old: str, new: str, told: str) -> None:
    text = real(name)
    assert old in text
    assert refusal(text.replace(old, new, 1), name).faults == (told,)


@given(st.sampled_from(REAL), st.data())
def test_a_cut_lock_is_refused_or_read_never_a_crash(name: str, data: st.DataObject) -> None:
    raw = (LOCKS / name).read_bytes()
    at = data.draw(st.integers(0, len(raw)))
    other = data.draw(st.binary(max_size=4))
    with suppress(UsageError):
        readers.read(raw[:at] + other + raw[at + data.draw(st.integers(0, 40)) :], name=name)


# Where things come from.


@pytest.mark.parametrize(
    ("source", "rest", "told"),
    [
        ('{ git = "https://me:secret@git.example/demo?rev=v1#0123" }', "", ("https://git.example/demo", ())),
        ('{ url = "https://a.example/demo-1.0-py3-none-any.whl" }',
         f'wheels = [{{ url = "https://a.example/demo-1.0-py3-none-any.whl", hash = "sha256:{X86}" }}]',
         ("https://a.example/demo-1.0-py3-none-any.whl", (X86,))),
        ('{ path = "dist/demo-1.0-py3-none-any.whl" }',
         f'wheels = [{{ filename = "demo-1.0-py3-none-any.whl", hash = "sha256:{X86}" }}]',
         ("dist/demo-1.0-py3-none-any.whl", (X86,))),
        ('{ registry = "../wheels" }', 'sdist = { path = "demo-1.0.tar.gz", hash = "md5:00" }', ("../wheels", ())),
        ('{ editable = "." }', "", None),
        ('{ directory = "demo" }', "", None),
    ],
)  # fmt: skip
def test_sources_of_uv(source: str, rest: str, told: tuple[str, tuple[str, ...]] | None) -> None:
    head = 'version = 1\nrequires-python = ">=3.11"\n[[package]]\nname = "demo"\nversion = "1.0"\n'
    found = read(f"{head}source = {source}\n{rest}\n", "uv.lock")
    assert [(one.source, one.sha256s) for one in found] == ([told] if told else [])


def test_sources_of_a_pylock() -> None:
    packages = [
        'name = "a"\n[packages.vcs]\ntype = "git"\nurl = "https://git.example/a"\ncommit-id = "01"\n',
        'name = "b"\n[packages.directory]\npath = "b"\n',
        f'name = "c"\n[packages.archive]\nurl = "https://c.example/c-1.zip"\nhashes = {{ sha256 = "{X86}" }}\n',
    ]
    text = 'lock-version = "1.0"\ncreated-by = "me"\n' + "".join(f"[[packages]]\n{one}" for one in packages)
    assert read(text, "pylock.gpu.toml") == (
        Locked(project="a", version="", source="https://git.example/a"),
        Locked(
            project="c", version="", sha256s=(X86,), files=("c-1.zip",), source="https://c.example/c-1.zip"
        ),
    )


def test_sources_of_poetry() -> None:
    packages = {
        "git": 'type = "git"\nurl = "https://git.example/a.git"\nreference = "HEAD"\n',
        "directory": 'type = "directory"\nurl = "../a"\n',
        "file": 'type = "file"\nurl = "a-1.0-py3-none-any.whl"\n',
    }
    text = "".join(
        f'[[package]]\nname = "{name}"\nversion = "1.0"\nfiles = []\n[package.source]\n{source}'
        for name, source in packages.items()
    )
    found = read(f'{text}[metadata]\nlock-version = "2.1"\n', "poetry.lock")
    assert [(one.project, one.source) for one in found] == [
        ("git", "https://git.example/a.git"),
        ("file", "a-1.0-py3-none-any.whl"),
    ]


# Lines of requirements.


@pytest.mark.parametrize(
    ("line", "project", "version", "digests"),
    [
        ("Tyre.Demo==1.0", "tyre-demo", "1.0", ()),
        ("demo[fast,gpu] == 1.0.0+CU128-1", "demo", "1.0.0+cu128.1", ()),
        ("demo===1.0", "demo", "1.0", ()),
        ("demo>=1,==1.5", "demo", "1.5", ()),
        ("demo==1.0 ; python_version < '3.13' and extra == 'x'  # why", "demo", "1.0", ()),
        (f"demo==1.0 --hash=sha256:{X86} --hash sha512:{128 * '0'}", "demo", "1.0", (X86,)),
        (f"demo==1.0 \\\n  --hash=sha256:{X86} \\\n  --hash=sha256:{ARM}", "demo", "1.0", (X86, ARM)),
        (f"demo==1.0 --hash=sha256:{X86.upper()}", "demo", "1.0", (X86,)),
        (f"demo @ https://a.example/demo-1.0%2Bcu128.1-py3-none-any.whl#sha256={X86}", "demo", "1.0+cu128.1", (X86,)),
        (f"https://a.example/demo-1.0-py3-none-any.whl --hash=sha256:{X86}", "demo", "1.0", (X86,)),
        ("./dist/demo-1.0-py3-none-any.whl ; sys_platform == 'linux'", "demo", "1.0", ()),
        ("demo-1.0.tar.gz", "demo", "1.0", ()),
        ("demo @ git+https://git.example/demo@v1", "demo", "", ()),
    ],
)  # fmt: skip
def test_what_a_line_pins(line: str, project: str, version: str, digests: tuple[str, ...]) -> None:
    (found,) = read(f"# made by hand\n\n{line}\n")
    assert (found.project, found.version, found.sha256s) == (project, version, digests)


@pytest.mark.parametrize(
    "line", ["", "# demo==1.0", ".", "-e .", "--editable ./demo", "./demo[gpu]", "--pre", "-c c.txt"]
)
def test_lines_that_lock_nothing(line: str) -> None:
    assert read(f"{line}\n") == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("demo", "demo is not pinned with =="),
        ("demo>=1.0", "demo>=1.0 is not pinned with =="),
        ("demo==1.*", "demo==1.* is not pinned with =="),
        ("demo==1,==2", "demo==1,==2 is not pinned with =="),
        ("demo==1.0 --hash=sha256:00", "'00' is not a sha256"),
        ("-r more.txt", "what more.txt asks for is not in this file; one file has to hold all of it"),
        ("-rmore.txt", "what more.txt asks for is not in this file; one file has to hold all of it"),
        ("--requirement=more.txt", "what more.txt asks for is not in this file; one file has to hold all of it"),
        ("--req more.txt", "--req is no option that retread knows"),
        ("demo==1.0 --frobnicate", "--frobnicate is no option that retread knows"),
        ("-i 'https://a", "No closing quotation"),
        ("what is this", "Expected semicolon (after name with no version specifier) or end"),
        ("https://a.example/demo-1.whl", "Invalid wheel filename (wrong number of parts): 'demo-1'"),
    ],
)  # fmt: skip
def test_lines_that_may_bring_in_more_than_they_say_are_refused(line: str, told: str) -> None:
    error = refusal(f"fine==1\n\n{line}\nalso-fine==2\n")
    assert error.faults == (f"line 3: {told}",)
    assert error.hint.startswith("lock it with hashes: uv pip compile --generate-hashes")


def test_every_fault_is_told_at_once_up_to_twenty() -> None:
    error = refusal("demo\n" * 25)
    assert error.faults[19:] == ("line 20: demo is not pinned with ==", "... and 5 more")


def test_a_comment_does_not_hide_the_line_behind_it() -> None:
    assert [one.project for one in read("# why \\\ndemo==1.0\n")] == ["demo"]
    found = read("first==1 \\\n    # why \\\nsecond==2\n")
    assert [one.project for one in found] == ["first", "second"]


@pytest.mark.parametrize(
    ("head", "source"),
    [
        ("--index-url https://me:secret@a.example/simple?token=1", "https://a.example/simple"),
        ("-i https://a.example/simple", "https://a.example/simple"),
        ("--index-url=https://a.example/simple\n--find-links=x", "https://a.example/simple"),
        ("-i https://a.example/simple\n--extra-index-url https://b.example/simple", ""),
        ("--extra-index-url https://b.example/simple", ""),
    ],
)
def test_the_index_of_requirements_is_told_when_there_is_one(head: str, source: str) -> None:
    assert read(f"demo==1.0\n{head}\n")[0].source == source


# Environments.


def test_an_environment_has_names_and_versions() -> None:
    assert readers.from_records([Installed("Tyre_Demo", "0.0.35+CU128.1"), Installed("old", "2004d-x")]) == (
        Locked(project="tyre-demo", version="0.0.35+cu128.1"),
        Locked(project="old", version="2004d-x"),
    )


@pytest.mark.parametrize(
    "info", [f'{{"hashes": {{"sha256": "{X86}"}}, "hash": "sha256={X86}"}}', f'{{"hash": "sha256={X86}"}}']
)
def test_a_wheel_that_was_installed_from_its_address_has_a_digest(info: str) -> None:
    url = "https://me:secret@a.example/demo-1.0%2Bcu128.1-py3-none-any.whl"
    row = Installed("demo", "1.0+cu128.1", f'{{"url": "{url}", "archive_info": {info}}}')
    assert readers.from_records([row]) == (
        Locked(
            project="demo",
            version="1.0+cu128.1",
            sha256s=(X86,),
            files=("demo-1.0+cu128.1-py3-none-any.whl",),
            source=url.replace("me:secret@", ""),
        ),
    )


def test_folders_and_checkouts_of_an_environment() -> None:
    folder = Installed("demo", "1.0", '{"url": "file:///src/demo", "dir_info": {"editable": true}}')
    git = Installed(
        "demo", "1.0", '{"url": "https://git.example/a", "vcs_info": {"vcs": "git", "commit_id": "01"}}'
    )
    assert readers.from_records([folder, git]) == (
        Locked(project="demo", version="1.0", source="https://git.example/a"),
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"url": "x", "archive_info": {"hashes": {"sha256": "00"}}}']
)
def test_a_damaged_direct_url_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"demo: its direct_url\.json is damaged: "):
        readers.from_records([Installed("demo", "1.0", text)])
