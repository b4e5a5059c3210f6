"""What ``import retread`` offers, called as another program would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

import house
import retread
import tinyindex
from retread import errors
from retread.cli import main, session
from retread.elf.facts import LibraryFacts
from retread.wheel.facts import WheelFacts
from tinycuda import DATA, LIBRARY, PTXAS, WHEEL, make_wheel, names, sha256, wheel_files

PUBLIC = ["RetreadError", "__version__", "audit", "compare", "graft", "inspect", "verify"]
POLICY = """
[[builder]]
name = "builder"
key = "{builder}"
[[tester]]
name = "tester"
key = "{tester}"
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that is no workspace; a temporary folder of its own shows what is left behind."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)


def left_behind() -> list[str]:
    store = Path(os.environ["RETREAD_STORE"])
    return names(Path("temporary")) + (names(store) if store.exists() else [])


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL
    path.write_bytes(make_wheel(wheel_files()))
    return path


@pytest.fixture
def ptxas(tmp_path: Path) -> Path:
    path = tmp_path / "ptxas"
    path.write_text(PTXAS.format(data=DATA))
    path.chmod(0o755)
    return path


@pytest.fixture
def proven(tmp_path: Path) -> tuple[Path, Path]:
    """Return a wheel with its evidence, and the policy that it is good for."""
    keys = tinyindex.make_keys(tmp_path / "keys")
    lines = {role: retread_line(key) for role, key in keys._asdict().items()}
    (tmp_path / "policy.toml").write_text(POLICY.format(**lines))
    return tinyindex.prove(tinyindex.make_wheel(tmp_path / "dist"), keys), tmp_path / "policy.toml"


def retread_line(key: tinyindex.Key) -> str:
    return tinyindex.signing.line(key)


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_only_what_is_promised_is_public() -> None:
    assert retread.__all__ == PUBLIC
    assert dir(retread) == PUBLIC
    with pytest.raises(AttributeError, match="module 'retread' has no attribute 'reproduce'"):
        _ = retread.reproduce  # type: ignore[attr-defined]
    assert [name for name in PUBLIC if not getattr(retread, name).__doc__] == []
    assert retread.RetreadError is errors.RetreadError


def test_the_manual_shows_everything_that_is_public() -> None:
    [page] = (house.ROOT / "docs").rglob("api.md")
    listed = re.findall(r"^\| `(\w+)", page.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == PUBLIC


def test_nothing_is_imported_before_it_is_used() -> None:
    program = (
        "import sys, retread; dir(retread); print(sorted(one for one in sys.modules if 'retread' in one))"
    )
    assert python(program) == "['retread']\n"
    assert python("import retread; print(retread.__version__)") == f"{retread.__version__}\n"
    assert (
        python("from retread import *; print(audit.__module__, RetreadError.__name__)")
        == "retread.api RetreadError\n"
    )


@pytest.mark.parametrize(
    "program",
    [
        "import retread, retread.audit.rules",
        "from retread.audit import audit; import retread",
        "import retread; retread.audit; from retread.audit import rules",
        "from retread.cli.main import run; run(['recipe', 'schema', 'audit']); import retread",
    ],
)
def test_a_function_is_never_hidden_by_the_package_of_its_name(program: str) -> None:
    told = (
        "; from retread import audit; print(retread.audit.__name__, audit is retread.audit, callable(audit))"
    )
    assert python(program + told).splitlines()[-1] == "audit True True"


def test_a_wheel_and_a_library_are_inspected(wheel: Path) -> None:
    found = retread.inspect(wheel)
    assert retread.inspect(WHEEL) == found
    assert isinstance(found, WheelFacts)
    assert (found.sha256, found.project, found.statement) == (sha256(wheel.read_bytes()), "tinycuda", None)
    Path("one.so").write_bytes(wheel_files()[LIBRARY])
    assert retread.inspect("one.so") == found.libraries[LIBRARY]
    assert isinstance(found.libraries[LIBRARY], LibraryFacts)
    assert left_behind() == []


def test_an_audit_says_what_is_broken_and_raises_nothing(wheel: Path) -> None:
    made = tinyindex.make_wheel(Path("dist"))
    said = retread.inspect(made).statement
    own = retread.audit(made)
    assert own.target == "cu128"
    general = retread.audit(wheel)
    assert (general.ok, general.target, general.wheel) == (True, "", WHEEL)
    held = retread.audit(wheel, said.promise)
    assert not held.ok
    assert "demo" in "".join(one.subject + one.detail for one in held.checks if not one.ok)
    assert left_behind() == []


def test_wheels_are_compared(wheel: Path) -> None:
    assert retread.compare(wheel, WHEEL).tier == "identical"
    files = wheel_files()
    files["tinycuda/ops.py"] = b"CHANGED = True\n"
    other = Path("other") / WHEEL
    other.parent.mkdir()
    other.write_bytes(make_wheel(files))
    found = retread.compare(wheel, other)
    assert found.tier == "different"
    assert "tinycuda/ops.py" in {one.member for one in found.differences}
    assert left_behind() == []


def test_a_library_is_grafted(ptxas: Path) -> None:
    old = Path("libadd.so")
    old.write_bytes((DATA / "libadd.so").read_bytes())
    before = retread.inspect(old)
    assert retread.graft(old, "new.so", ["10.0"], ptxas) is True
    after = retread.inspect("new.so")
    assert [module.sass for module in after.modules] == [(*module.sass, "10.0") for module in before.modules]
    assert retread.inspect(old) == before
    retread.graft(old, old, ["10.0"], "ptxas")
    assert old.read_bytes() == Path("new.so").read_bytes()
    assert left_behind() == []


def test_who_vouches_for_a_wheel_is_told(proven: tuple[Path, Path]) -> None:
    wheel, policy = proven
    found = retread.verify(wheel.parent.glob("*.dsse.json"), policy)
    assert (found.wheel, found.sha256) == (wheel.name, sha256(wheel.read_bytes()))
    assert {one.key for one in found.vouchers} == {"builder", "tester"}
    assert left_behind() == []


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("provenance", "no builder states how it was built"),
        ("test-jit", "no jit test result"),
        ("", "no envelope"),
    ],
)
def test_what_is_lacking_is_told(proven: tuple[Path, Path], gone: str, told: str) -> None:
    wheel, policy = proven
    for envelope in wheel.parent.glob(f"*{gone}.dsse.json"):
        envelope.unlink()
    with pytest.raises(errors.GateError, match=told):
        retread.verify(wheel.parent.glob("*.dsse.json"), policy)


def test_a_builder_who_signed_another_recipe_is_refused(proven: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, policy = proven
    keys = tinyindex.make_keys(tmp_path / "keys")
    tinyindex.prove(wheel, keys, signed=lambda one: structs.replace(one, target="cu124"))
    told = r"channel: the file name says cu128, .*\.json: target cu124 says cu124"
    with pytest.raises(errors.GateError, match=told):
        retread.verify(wheel.parent.glob("*.dsse.json"), policy)


def test_an_envelope_that_was_changed_is_refused(proven: tuple[Path, Path]) -> None:
    wheel, policy = proven
    envelope = min(wheel.parent.glob("*.dsse.json"))
    envelope.write_bytes(envelope.read_bytes().replace(b'"payload":"ey', b'"payload":"eX'))
    with pytest.raises(errors.GateError, match=re.escape(envelope.name)):
        retread.verify(wheel.parent.glob("*.dsse.json"), policy)


@pytest.mark.parametrize(
    ("call", "kind", "told"),
    [
        (lambda: retread.inspect("no.whl"), errors.UsageError, "there is no file no.whl"),
        (lambda: retread.audit("no.whl"), errors.UsageError, "there is no file no.whl"),
        (lambda: retread.compare(WHEEL, "no.whl"), errors.UsageError, "there is no file no.whl"),
        (lambda: retread.verify(["no.json"], WHEEL), errors.GateError, "is not TOML"),
        (lambda: retread.verify([WHEEL], "no.toml"), errors.UsageError, "there is no file no.toml"),
        (lambda: retread.inspect("text.whl"), errors.WheelError, "text.whl"),
        (lambda: retread.inspect("text.so"), errors.ElfError, "text.so"),
        (lambda: retread.graft("add.so", "new.so", ["10.5"], "ptxas"), errors.UsageError, "no GPU has .* '10.5'"),
        (lambda: retread.graft("add.so", "new.so", ["10.0"], "no"), errors.UsageError, "there is no file no"),
        (lambda: retread.graft("add.so", "new.so", ["10.0"], "text.so"), errors.ToolError, "text.so"),
        (lambda: retread.graft("add.so", "new.so", ["10.0"], "/bin/true"), errors.ToolError, "it is no ptxas"),
        (lambda: retread.graft("add.so", "new.so", ["12.1"], "ptxas"), errors.ToolError, "sm_121"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_and_nothing_is_left(
    wheel: Path, ptxas: Path, call: object, kind: type[errors.RetreadError], told: str
) -> None:
    Path("text.whl").write_text("not a wheel\n")
    Path("text.so").write_text("not a library\n")
    Path("add.so").write_bytes((DATA / "libadd.so").read_bytes())
    before = names(Path())
    with pytest.raises(kind, match=told) as caught:
        call()
    assert isinstance(caught.value, retread.RetreadError)
    assert names(Path()) == before
    assert left_behind() == []


def test_the_functions_say_what_the_commands_say(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["inspect", WHEEL, "--json"]) == 0
    assert capsys.readouterr().out.encode() == session.json(retread.inspect(wheel))
    assert main.run(["audit", WHEEL, "--json"]) == 0
    assert capsys.readouterr().out.encode() == session.json(retread.audit(wheel))
