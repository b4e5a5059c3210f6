"""The command line as it is put together: one file for each noun, one row for each file."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import subprocess
import sys
import typing
from pathlib import Path

import msgspec
import pytest

from commandline import COMMANDS, typed
from house import ROOT, SOURCE, is_in
from retread.cli import commands, main, options
from retread.errors import AuditError, ElfError
from retread.text.colour import Colour
from tinycuda import WHEEL, make_wheel, wheel_files


def test_every_file_that_adds_commands_has_its_row() -> None:
    found = {
        path.stem
        for path in (SOURCE / "cli").glob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "add"
    }
    assert sorted(commands.NOUNS) == sorted(found)


def test_who_waits_for_others_is_not_shown_as_at_work() -> None:
    waiting = {name for name, one in COMMANDS.items() if one.get_default("waits")}
    assert waiting == {"retread explain", "retread serve"}


HEAVY = {
    "ast", "asyncio", "concurrent", "ctypes", "dataclasses", "decimal", "email", "fractions", "hashlib", "http",
    "inspect", "json", "logging", "multiprocessing", "platform", "socket", "ssl", "statistics", "subprocess",
    "tempfile", "threading", "tomllib", "urllib.request", "uuid", "xml", "zipfile",
}  # fmt: skip
"""Of Python's own, what takes milliseconds to import, and what it would be imported by."""


def test_every_file_adds_the_commands_of_its_row() -> None:
    for noun, sentences in commands.NOUNS.items():
        groups = argparse.ArgumentParser().add_subparsers()
        importlib.import_module(f"retread.cli.{noun}").add(groups)
        assert list(groups.choices) == list(sentences)


@pytest.mark.parametrize("name", commands.MODULES)
def test_a_command_alone_is_read_as_in_the_whole(name: str) -> None:
    part, whole = (
        next(one.choices[name] for one in parser._actions if isinstance(one, argparse._SubParsersAction))
        for parser in (main.parser(name), main.parser())
    )
    assert part.format_help() == whole.format_help()


def test_help_is_that_of_the_whole() -> None:
    assert main.outline().format_help() == main.parser().format_help()


EVERY = {"address", "cli", "cli.commands", "cli.main", "cli.session", "errors", "variables"}
"""What of ours every command waits for."""
OUTLINE = {"typing", "pathlib", "signal", "urllib.parse", "ipaddress"}
"""Of Python's own, what takes milliseconds more, and what no command needs before it is known which it is."""
INDEX = {"cli.options", "cli.index", "cli.revoke"}


@pytest.mark.parametrize(
    ("arguments", "more", "heavy"),
    [(["--help"], set[str](), HEAVY | OUTLINE), (["index", "yank", "--help"], INDEX, HEAVY)],
    ids=["all", "one"],
)
def test_help_imports_only_what_it_shows(arguments: list[str], more: set[str], heavy: set[str]) -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from retread.cli import main\n"
        f"try: main.run({arguments})\n"
        "except SystemExit: print(*set(sys.modules) - before, file=sys.stderr)"
    )
    # Nothing that is imported at the start counts, be it by a .pth of the environment.
    done = subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(SOURCE.parent)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    names = set(done.stderr.split())
    assert {name for name in names if is_in(name, tuple(heavy))} == set()
    assert {name.removeprefix("retread.") for name in names if name.startswith("retread.")} == EVERY | more
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"retread"}


def test_every_command_says_what_it_does() -> None:
    assert len(COMMANDS) > 30
    assert [name for name, one in COMMANDS.items() if not one.description] == []


CHANGES = {
    "retread index yank",
    "retread index unyank",
    "retread index remove",
    "retread index rollback",
    "retread index refresh",
}
"""They share a record, of which each fills some; ``action`` says which it is."""


@pytest.mark.parametrize("name", COMMANDS)
def test_what_can_be_typed_is_what_the_command_gets(name: str) -> None:
    fields = typing.get_type_hints(COMMANDS[name].get_default("record"))
    found = typed(COMMANDS[name])
    assert set(found) <= set(fields), "it can be typed, and is never looked at"
    spare = {"project", "release", "reason", "number", "action"} if name in CHANGES else set()
    assert set(fields) - set(found) <= {"json", *spare}, "it is looked at, and can never be typed"


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_and_choices_are_of_the_type_that_the_command_gets(name: str) -> None:
    fields = typing.get_type_hints(COMMANDS[name].get_default("record"))
    for dest, action in typed(COMMANDS[name]).items():
        several = isinstance(action, argparse._AppendAction)
        for choice in action.choices or ():
            msgspec.convert([choice] if several else choice, fields[dest])
        if not action.required and action.nargs != "*":
            msgspec.convert(action.default, fields[dest])


@pytest.mark.parametrize(("asked", "coloured"), [("always", True), ("never", False), ("auto", False)])
def test_an_error_is_coloured_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: str, coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert main.run(["inspect", "no.whl", "--color", asked]) == 2
    said = "\x1b[1;31mretread: usage:\x1b[0m" if coloured else "retread: usage:"
    assert capsys.readouterr().err == f"{said} there is no file no.whl\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["publish", "x.whl", "--index", ""], "argument --index: a path is wanted, and nothing was typed"),
        (["build", "demo-1", "--out", ""], "argument -o/--out: a path is wanted, and nothing was typed"),
        (["index", "check", ""], "argument index: a path is wanted, and nothing was typed"),
        (
            ["publish", "x.whl", "--index", "https://me:s3cret@host/x"],
            "argument --index: 'https://host/x' is neither a folder nor a bucket (s3://, gs://)",
        ),
        (["store", "prune", "--keep", "inf"], "argument --keep: 'inf' is no number from 0 on"),
        (["store", "prune", "--days", "-1"], "argument --days: '-1' is no number from 0 on"),
        (["build", "demo-1", "--memory", "nan"], "argument --memory: 'nan' is no number from 0 on"),
        (
            ["run-job", "k", "--jobs", "j", "--out", "o", "--memory", "0"],
            "'0' is none: a number above 0 is wanted",
        ),
        (
            ["publish", "x.whl", "--to", ""],
            "argument --to: the name of an index is wanted, and nothing was typed",
        ),
        (
            ["publish", "x.whl", "--index", "ix", "--allow-unproven", ""],
            "argument --allow-unproven: a reason is wanted, and nothing was typed",
        ),
        (["build", "demo-1", "--on", ""], "argument --on: an engine is wanted, and nothing was typed"),
        (["index", "yank", "file:///x", "demo", "1"], "'file:///x' is neither a folder nor a bucket"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    typed: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main.run(typed)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert "s3cret" not in err
    assert list(tmp_path.iterdir()) == []


def test_where_a_file_is_wanted_what_else_lies_there_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.run(["inspect", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder, where a file is wanted" in capsys.readouterr().err
    (tmp_path / "none.so").touch()
    assert main.run(["inspect", str(tmp_path / "none.so")]) == ElfError.exit_code
    assert "none.so: is empty" in capsys.readouterr().err
    assert main.run(["audit", "/dev/null"]) == 2
    assert "/dev/null is no plain file" in capsys.readouterr().err


def test_colours_are_the_words_that_the_terminal_knows() -> None:
    assert list(options.COLOURS) == [one.value for one in Colour]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--torch", "2.9.1"], ["xformers-0.0.33.post2 cu128"]),
        (["--torch", "2.6.0", "--python", "3.12"], ["xformers-0.0.29.post3 cu124"]),
        (["--torch", "2.6.0", "--python", "3.13"], []),
        (["--gpu", "6.1"], ["xformers-0.0.29.post3 cu124"]),
        (
            ["--torch", "2.8.0", "--gpu", "10.3"],
            ["xformers-0.0.29.post3 cu128", "xformers-0.0.32.post2 cu128"],
        ),
    ],
)
def test_the_list_of_recipes_is_narrowed(
    capsys: pytest.CaptureFixture[str], options: list[str], found: list[str]
) -> None:
    assert main.run(["recipe", "list", "--json", "--root", str(ROOT), *options]) == 0
    out, err = capsys.readouterr()
    recipes = json.loads(out)
    with_torch = [one for one in recipes if one["project"] == "xformers"]  # others fit with any
    assert [f"{one['name']} {target}" for one in with_torch for target in one["targets"]] == found
    assert ("note: no target fits" in err) is (not recipes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--torch", "new"], "--torch: 'new' is not a version like '2.9.1'"),
        (["--python", "cp312"], "--python: 'cp312' is not a version like '3.12'"),
        (["--gpu", "10.00"], "no GPU has the architecture '10.00' (did you mean '10.0'?)"),
    ],
)
def test_what_is_no_version_narrows_nothing(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main.run(["recipe", "list", "--root", str(ROOT), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("python", "code", "said"),
    [
        *(
            (word, 2, f"usage: --python: {word!r} is not a version")
            for word in ("banana", "", "-1", "99", "3")
        ),
        ("3.8", 6, "plan: xformers-0.0.35 cu128: no base wheel serves Python 3.8"),
        ("2.7", 6, "plan: xformers-0.0.35 cu128: no base wheel serves Python 2.7"),
        ("/usr/bin/python3", 6, "is asked for by its version, not as /usr/bin/python3"),
    ],
)
def test_a_wheel_is_made_for_a_version_of_python_that_its_recipe_has(
    capsys: pytest.CaptureFixture[str], python: str, code: int, said: str
) -> None:
    assert main.run(["plan", f"--python={python}", "--lane", "overlay", "--root", str(ROOT)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize(
    "line",
    [
        "build --target", "plan --platform", "build --toolchain", "recipe list --torch", "recipe list --python",
        "recipe list --gpu", "recipe lock --target", "release plan --platform", "jobs --platform", "matrix --platform",
        "fit --driver", "fit --platform", "smoke x.whl --target", "smoke x.whl --python", "audit x.whl --target",
        "slim x.whl --keep 9.0 -o x --local", "graft x.whl --arch 10.0 -o x --local",
    ],
)  # fmt: skip
def test_an_empty_choice_is_not_taken_for_none(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run([*line.split(), ""])
    assert ended.value.code == 2
    said = rf"argument {line.rpartition(' ')[2]}: an? \w+ is wanted, and nothing was typed\n$"
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["inspect tiny.zip", "graft tiny.zip --arch 10.0 -o new.zip"])
def test_a_wheel_that_is_called_zip_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.zip").write_bytes(make_wheel(wheel_files()))
    assert main.run(command.split()) == ElfError.exit_code
    assert capsys.readouterr().err == (
        "retread: elf: tiny.zip is a zip archive; it is not read\n"
        "  next: a wheel is read under its own name, which ends with .whl\n"
    )


def test_two_wheels_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / WHEEL, tmp_path / "other" / WHEEL
    two.parent.mkdir()
    one.write_bytes(make_wheel(wheel_files()))
    two.write_bytes(one.read_bytes())
    assert main.run(["compare", str(one), str(two)]) == 0
    assert capsys.readouterr().out == "identical: the same bytes\n"
    two.write_bytes(make_wheel(wheel_files() | {"tinycuda/ops.py": b"CHANGED = True\n"}))
    assert main.run(["compare", str(one), str(two)]) == AuditError.exit_code
    out, err = capsys.readouterr()
    assert f"{WHEEL}: the two can behave differently\n" in err
    assert out.splitlines()[0] == "different: what is installed can behave differently"
    assert "matters" in out
    assert "tinycuda/ops.py" in out


def test_the_times_of_a_record_are_kept_beside_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("recipes/xformers-0.0.35.toml", "patches/xformers/0.0.35", "patches/xformers/shared"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(ROOT / path)
    record = {
        "schema": 1, "wheel": "demo.whl", "sha256": 64 * "a", "native_digest": "n", "compiled": 1, "seconds": 1,
        "peak": 1, "jobs": 2, "network": False, "fixed": True, "cache": None, "read": [], "outside": {},
        "units": [{"name": "csrc/a.cu", "tool": "nvcc", "seconds": 93.21, "memory": 5}],
    }  # fmt: skip
    (tmp_path / "record.json").write_text(json.dumps(record))
    command = ["recipe", "times", "xformers-0.0.35", str(tmp_path / "record.json"), "--root", str(tmp_path)]
    assert main.run([*command, "--target", "cu130"]) == 0
    kept = tmp_path / "recipes/times/xformers-0.0.35-cu130.json"
    assert (capsys.readouterr().out, json.loads(kept.read_text())) == (f"{kept}\n", {"csrc/a.cu": 93.2})
    assert main.run([*command, "--target", "cu999"]) != 0
    assert "cu999" in capsys.readouterr().err
    kept.write_text("[1]")
    assert main.run(["recipe", "check", "xformers-0.0.35", "--root", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "recipes/times/xformers-0.0.35-cu130.json: " in said
