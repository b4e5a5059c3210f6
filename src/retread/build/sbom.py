"""The bill of materials of a patched wheel: CycloneDX, with the patches as pedigree (its place: PEP 770). Pure.

It is written here, as the format's own library would write it, byte for byte: to import that takes a build longer than
to copy a wheel of a hundred megabytes. The tests hold one to the other, and to the format's schema.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import structs

from retread.wheel.statement import PatchStatement, Statement

_NAMESPACE: Final = uuid.UUID("7d1a0e0c-9f5c-5d55-8a3e-3a1b6f0b8d10")
_FORMAT: Final = {
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
}
_Object = dict[str, Any]


def write(statement: Statement, patches: Mapping[str, bytes]) -> bytes:
    """Return the CycloneDX 1.6 JSON of the wheel that ``statement`` describes; ``patches`` holds their bytes by name.

    Serial number and time follow from the statement, so the same wheel has the same bill.
    """
    told = msgspec.json.encode(statement, order="deterministic").decode()
    subject = _subject(statement, patches)
    parts = sorted([*_submodules(statement), *_device_tools(statement)], key=_order)
    refs = sorted(one["bom-ref"] for one in parts)
    needs = [{"ref": subject["bom-ref"], "dependsOn": refs}, *({"ref": one} for one in refs)]
    bill = {
        "serialNumber": uuid.uuid5(_NAMESPACE, told).urn,
        "version": 1,
        "metadata": {
            "component": subject,
            "timestamp": datetime.fromtimestamp(statement.commit_time, UTC).isoformat(),
        },
        "components": parts,
        "dependencies": sorted(needs, key=lambda one: str(one["ref"])),
    }
    return (json.dumps(_filled(bill) | _FORMAT, indent=2) + "\n").encode()


def _filled(value: Any) -> Any:
    """Return what there is of a value: no empty field of an object, and the others by their names."""
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in sorted(value.items()) if item}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def _order(component: _Object) -> tuple[str, ...]:
    return component["type"], component["name"], component["version"], component["bom-ref"]


def _purl(kind: str, name: str, version: str) -> str:
    """Return a package URL; ``name`` has its namespace before it."""
    return f"pkg:{kind}/{_quoted(name).lower()}@{_quoted(version)}"


def _quoted(text: str) -> str:
    return quote(text).replace("%3A", ":")


def _subject(statement: Statement, patches: Mapping[str, bytes]) -> _Object:
    """Return the patched wheel, with what it was made of."""
    made_of = next(filter(None, (statement.sdist, statement.packed, statement.base)), None)
    upstream = _library(statement.project, statement.version.partition("+")[0])
    ancestor = {
        **upstream,
        "bom-ref": f"upstream:{upstream['bom-ref']}",
        "hashes": [{"alg": "SHA-256", "content": made_of.sha256}] if made_of else [],
    }
    changed = [_patch(one, patches[one.name]) for one in statement.series]
    pedigree = {
        "ancestors": [ancestor],
        "commits": [{"uid": statement.commit}] if statement.commit else [],
        "patches": sorted(changed, key=lambda one: (one["type"], one["diff"]["text"]["content"])),
    }
    return _library(statement.project, statement.version) | {"pedigree": pedigree}


def _library(project: str, version: str) -> _Object:
    return {
        "type": "library",
        "name": project,
        "version": version,
        "purl": _purl("pypi", project.replace("_", "-"), version),
        "bom-ref": f"{project}@{version}",
    }


def _patch(patch: PatchStatement, data: bytes) -> _Object:
    backport = patch.upstream.startswith("fixed in")
    fault = {"type": "defect", "id": patch.name, "name": patch.subject, "description": patch.breaks}
    return {
        "type": "backport" if backport else "unofficial",
        "diff": {"text": {"content": data.decode("utf-8", "replace"), "contentType": "text/x-diff"}},
        "resolves": [fault],
    }


def _device_tools(statement: Statement) -> Iterator[_Object]:
    """Yield what made the device code; excluded: the build needs it, who installs the wheel does not."""
    made = statement.compiled.device if statement.compiled else None
    for role, told in structs.asdict(made).items() if made else ():
        name, _, version = (
            told.rpartition(" ") if role != "compiler" else told.partition(" (")[0].rpartition(" ")
        )
        yield {
            "type": "application",
            "name": name,
            "version": version,
            "scope": "excluded",
            "bom-ref": f"device-{role}:{told}",
            "properties": [{"name": f"retread:device-{role}", "value": told}],
        }


def _submodules(statement: Statement) -> Iterator[_Object]:
    for submodule in statement.submodules:
        address = urlsplit(submodule.repository)
        path = address.path.strip("/").removesuffix(".git")
        yield {
            "type": "library",
            "name": path.rpartition("/")[2],
            "version": submodule.commit,
            "purl": _purl("github", path, submodule.commit) if address.hostname == "github.com" else "",
            "bom-ref": f"submodule:{submodule.path}",
        }
