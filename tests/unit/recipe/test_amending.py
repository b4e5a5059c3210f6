"""A recipe's text with single values changed: what is not changed stays, letter by letter."""

from __future__ import annotations

import pytest

from retread.recipe.amending import Place, Value, amended, renamed, with_table, without

TEXT = """\
name = "demo"
# What the build reads.
inputs = [
  "setup.py",
  # Imported by it.
  "demo/helper.py",
  "csrc/**",
]

[sdist]
file = "x"  # as on the index
copies = { "a" = "b", "c" = "d" }

# Nobody proves these.
[[sdist.unproven]]
paths = ["PKG-INFO"]

[[sdist.unproven]]
paths = ["a/**", "b/**"]
reason = "x"

# The one.
[targets.cu128]
cuda = "12.8"
generated = ["a.py"]

# How it is tried.
[targets.cu128.smoke]
torch = "2.9"
"""
SMOKE = '\n# How it is tried.\n[targets.cu128.smoke]\ntorch = "2.9"\n'
INPUTS = '  # Imported by it.\n  "demo/helper.py",\n  "csrc/**",\n'
NEW = INPUTS.replace('demo/helper.py",\n  "csrc/**', 'csrc/**",\n  "new/**')
RUN_PATH = '\n[targets.cu128.run-path]\n"a/b.so" = ["$ORIGIN"]\n'


@pytest.mark.parametrize(
    ("place", "value", "old", "new"),
    [
        (Place("sdist", "file"), "y", 'file = "x"  # as', 'file = "y"  # as'),
        (Place("", "inputs"), ("setup.py", "csrc/**", "new/**"), INPUTS, NEW),
        (Place("", "inputs"), None, TEXT[TEXT.index("# What") : TEXT.index("\n[sdist]")], ""),
        (Place("sdist", "copies"), {"c": "d"}, '{ "a" = "b", "c" = "d" }', '{ c = "d" }'),
        (Place("sdist", "copies"), None, 'copies = { "a" = "b", "c" = "d" }\n', ""),
        (Place("sdist.copies", "a"), None, '{ "a" = "b", "c" = "d" }', '{ c = "d" }'),
        (Place("sdist.unproven", "paths", 1), ("b/**",), '["a/**", "b/**"]', '["b/**"]'),
        (Place("targets.cu128", "generated"), ("a.py", "b"), '["a.py"]', '["a.py", "b"]'),
        (Place("targets.cu128", "ptx"), (), 'generated = ["a.py"]\n', 'generated = ["a.py"]\nptx = []\n'),
        (Place("targets.cu128.smoke", "torch"), None, SMOKE, ""),
        (Place("targets.cu128.run-path", "a/b.so"), ("$ORIGIN",), SMOKE, SMOKE + RUN_PATH),
    ],
)  # fmt: skip
def test_one_value_changes(place: Place, value: Value | None, old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert amended(TEXT, place, value) == TEXT.replace(old, new)


def test_a_table_goes_with_its_comment_and_others_keep_theirs() -> None:
    first = '# Nobody proves these.\n[[sdist.unproven]]\npaths = ["PKG-INFO"]\n\n'
    assert without(TEXT, "sdist.unproven", 0) == TEXT.replace(first, "")
    second = '[[sdist.unproven]]\npaths = ["a/**", "b/**"]\nreason = "x"\n\n'
    assert without(TEXT, "sdist.unproven", 1) == TEXT.replace(second, "")
    with pytest.raises(LookupError):
        without(TEXT, "sdist.unproven", 2)


def test_a_table_gets_another_name_with_those_below_it() -> None:
    assert renamed(TEXT, "targets.cu128", "targets.cu129") == TEXT.replace("[targets.cu128", "[targets.cu129")
    assert renamed(TEXT, "targets.cu12", "targets.x") == TEXT


def test_a_new_table_stands_with_its_kind() -> None:
    made = with_table(TEXT, "sdist.copies", {"e f": "g"}, below="sdist")
    assert '\nreason = "x"\n\n[sdist.copies]\n"e f" = "g"\n\n# The one.\n[targets.cu128]\n' in made
    with pytest.raises(LookupError):
        amended(TEXT, Place("targets.cu130", "cuda"), "13.0")
