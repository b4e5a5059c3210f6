"""What a build imported of its environment and has no bytecode of: no other file, wherever its list leads."""

from __future__ import annotations

from pathlib import Path

from retread.environment.bytecode import lacking

SEEN = "/mnt/retread/environment"


def test_what_was_imported_of_the_environment_and_has_no_bytecode(tmp_path: Path) -> None:
    packages = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
    for name in (
        "torch/__init__.py",
        "torch/made.py",
        "torch/not_imported.py",
        "torch/__pycache__/made.cpython-312.pyc",
    ):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    (tmp_path / "outside.py").touch()
    inside = "lib/python3.12/site-packages/torch"
    listed = [
        f"{SEEN}/{inside}/{name}"
        for name in ("__init__.py", "made.py", "gone.py", "../../../../../outside.py")
    ]
    listed += [f"{tmp_path}/outside.py", "/usr/lib/python3.12/json/__init__.py", f"{SEEN}/bin/ninja", ""]
    (tmp_path / "executed").write_text("\n".join(listed))
    found = set(lacking(tmp_path / "env", SEEN, tmp_path / "executed", "3.12"))
    assert found == {packages / "torch" / "__init__.py"}
    with (tmp_path / "executed").open("a") as out:  # a build without walls sees it where it is
        out.write(f"\n{packages}/torch/not_imported.py\n")
    assert len(set(lacking(tmp_path / "env", SEEN, tmp_path / "executed", "3.12"))) == 2
