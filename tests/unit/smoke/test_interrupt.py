"""A smoke test that is interrupted keeps what the levels found that had ended, and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports import case, report
from reports import run as made
from retread.cli import main
from retread.smoke import run as smoke
from retread.smoke.level import Level
from retread.smoke.report import SmokeReport
from tinycuda import WHEEL, make_wheel, wheel_files


@pytest.mark.parametrize("ended", [0, 1])
def test_what_had_ended_is_kept(
    ended: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / WHEEL
    wheel.write_bytes(make_wheel(wheel_files()))
    found = report(made(case("jit/x"), level=Level.JIT))

    def parts(*_: object) -> Iterator[SmokeReport]:
        yield from [found][:ended]
        raise KeyboardInterrupt

    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(smoke, "_parts", parts)
    for name in ("subject", "make_kit"):
        monkeypatch.setattr(smoke, name, lambda *_: None)
    (tmp_path / "recipes").mkdir()
    written = tmp_path / "report.json"
    line = ["smoke", str(wheel), "--level", "jit", "--only", "jit/*", "--json", str(written)]
    assert main.run([*line, "--root", str(tmp_path)]) == 130
    out, err = capsys.readouterr()
    assert ("note: interrupted: what level jit found is kept, and nothing of the rest" in err) is bool(ended)
    assert (
        "note: interrupted before a level had ended: nothing of what was tried is kept" in err
    ) is not bool(ended)
    assert err.endswith(
        "retread: interrupted; what was finished is kept, the same command goes on from there\n"
    )
    assert written.exists() is bool(out) is bool(ended)
    if ended:
        assert [one["level"] for one in json.loads(written.read_text())["runs"]] == ["jit"]
