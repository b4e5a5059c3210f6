"""What lies beside a wheel: found by its name, read as it lies there."""

from __future__ import annotations

import json
from pathlib import Path

import older
import reports
from reports import case, run
from retread.canonical import digest
from retread.evidence import beside
from retread.smoke.level import Level
from tinycuda import sha256


def test_a_report_of_an_older_kit_is_put_beside_its_wheel_as_it_is(tmp_path: Path) -> None:
    wheel = tmp_path / "demo-1.2+cu128.1-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    table = older.before(
        reports.report(run(case("a/b"), level=Level.JIT), wheel=wheel.name, sha256=sha256(b"a wheel"))
    )
    data = json.dumps({**table, "digest": digest(table)}).encode()
    (tmp_path / "from-there.json").write_bytes(data)
    place = beside.attach(tmp_path / "from-there.json", tmp_path)
    assert place.read_bytes() == data
    [found] = beside.evidence(wheel).reports
    assert (found.digest, found.only) == (digest(table), "*")
