"""Every way to refuse has an exit code of its own, and the help text lists them all."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from retread import errors
from retread.cli import main
from retread.errors import RecipeError, RetreadError
from retread.smoke.runtime import place, program, surroundings

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, RetreadError) and found is not RetreadError
]
SOURCE = Path(errors.__file__).parent


def test_there_are_classes_to_check() -> None:
    assert RecipeError in CLASSES
    assert set(CLASSES) == set(RetreadError.__subclasses__())


def test_exit_codes_are_distinct_and_leave_room_for_bugs_and_signals() -> None:
    codes = [found.exit_code for found in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(1 < code < 125 for code in codes)


def test_kinds_are_distinct_words() -> None:
    kinds = [found.kind for found in CLASSES]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch("[a-z]+", kind) for kind in kinds)


def test_each_says_what_it_means() -> None:
    assert [found for found in CLASSES if not (found.__doc__ or "").endswith(".")] == []


def test_the_help_text_lists_every_code() -> None:
    codes = errors.exit_codes()
    assert set(codes) == {0, 1, 130} | {found.exit_code for found in CLASSES}
    text = main.parser().format_help().partition("exit codes:\n")[2].partition("\n\n")[0]
    assert re.split(r" {2,}", text.replace("\n", "").strip()) == [f"{code} {codes[code]}" for code in codes]
    assert max(map(len, text.splitlines())) <= 100


def test_a_kit_ends_with_the_codes_of_the_command() -> None:
    """It runs where there is no retread, so it cannot import them."""
    assert errors.SmokeError.exit_code == program.FAILED
    assert errors.EvidenceError.exit_code == place.CHANGED
    assert errors.HostError.exit_code == surroundings.UNFIT
    assert program.INTERRUPTED == errors.INTERRUPTED


def test_a_message_says_what_then_each_fault_then_what_next() -> None:
    error = RecipeError(
        "recipe x has 2 faults", faults=["a: missing", "b: unknown key"], hint="read the schema"
    )
    assert str(error) == (
        "recipe x has 2 faults\n  - a: missing\n  - b: unknown key\n  next: read the schema"
    )
    assert str(RecipeError("only this")) == "only this"
    assert (error.message, error.faults) == ("recipe x has 2 faults", ("a: missing", "b: unknown key"))


def test_only_the_command_line_ends_the_process() -> None:
    ends = re.compile(r"\b(?:sys\.exit|os\._exit|(?<![\w.])exit|quit)\(")
    assert ends.search((SOURCE / "cli" / "main.py").read_text("utf-8"))
    for path in SOURCE.rglob("*.py"):
        if path.parts[-2:] != ("cli", "main.py") and not {"inside", "runtime", "keeper.py"} & set(
            path.parts
        ):  # what lies there are programs of their own
            assert not ends.search(path.read_text("utf-8")), path
