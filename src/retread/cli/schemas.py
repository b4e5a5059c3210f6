"""The records that have a JSON Schema, each by the name under which ``retread recipe schema`` prints it."""

from __future__ import annotations

import importlib
from types import GenericAlias
from typing import Final

SCHEMAS: Final = {
    "recipe": "recipe.model.Recipe",
    "plan": "list[recipe.plan.Plan]",
    "build": "list[build.pipeline.Built]",
    "audit": "audit.report.AuditReport",
    "inspect": "wheel.facts.WheelFacts",
    "inspect-table": "list[wheel.table.Row]",
    "statement": "wheel.statement.Statement",
    "toolchain": "list[toolkit.inquiry.ToolchainReport]",
    "compile": "compile.stage.CompileFacts",
    "resources": "audit.resources.ResourceReport",
    "compare": "wheel.comparison.Comparison",
    "smoke": "smoke.report.SmokeReport",
    "evidence": "evidence.beside.Evidence",
    "matrix": "recipe.matrix.Matrix",
    "store-removed": "doors.store.Removed",
    "store-check": "shared.remote.Checked",
    "release": "index.release.Release",
    "upload": "index.upload.Uploaded",
    "jobs": "jobs.job.JobFile",
    "job-result": "jobs.job.Result",
    "patch-change": "queue.pieces.Altered",
    "patch-graph": "queue.graph.Graph",
    "recipe-new": "upstream.first.First",
    "bump": "upstream.bump.Bumped",
    "watch": "upstream.outlook.Outlook",
    "fit": "fit.report.FitReport",
    "explain": "list[fit.explain.Explained]",
    "usage": "fit.catalogue.Usage",
}
"""Names, not the records themselves: ``--help`` lists them and must not import the house."""


def schema(name: str) -> dict[str, object]:
    """Return the JSON Schema of a record, or of a list of them."""
    from retread import strict

    path = SCHEMAS[name]
    module, _, record = path.removeprefix("list[").removesuffix("]").rpartition(".")
    kind = getattr(importlib.import_module(f"retread.{module}"), record)
    return strict.schema(GenericAlias(list, (kind,)) if path.startswith("list[") else kind)
