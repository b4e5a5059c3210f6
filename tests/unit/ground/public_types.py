"""What mypy knows of ``import retread``: nothing here runs, ``make lint`` checks it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import retread
from retread.audit.report import AuditReport
from retread.elf.facts import CodeFacts, LibraryFacts
from retread.evidence.gate import Admission
from retread.wheel.comparison import Comparison
from retread.wheel.facts import WheelFacts


def every_function_has_its_types(path: Path) -> None:
    found = retread.inspect(path)
    assert_type(found, WheelFacts | LibraryFacts | CodeFacts)
    if isinstance(found, WheelFacts) and found.statement:
        assert_type(retread.audit("demo.whl", found.statement.promise), AuditReport)
    assert_type(retread.audit(path), AuditReport)
    assert_type(retread.compare(path, "other.whl"), Comparison)
    assert_type(retread.graft(path, "new.so", ["10.0"], ptxas="ptxas"), bool | None)
    assert_type(retread.verify([path, "a.dsse.json"], path), Admission)
    assert_type(retread.__version__, str)
    try:
        retread.inspect("demo.whl")
    except retread.RetreadError as error:
        assert_type(error.exit_code, int)
