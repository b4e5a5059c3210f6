"""The bill of materials of a patched wheel: CycloneDX, with the patches as pedigree (its place: PEP 770). Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from retread.wheel.statement import PatchStatement, Statement

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, Patch

_NAMESPACE = uuid.UUID("7d1a0e0c-9f5c-5d55-8a3e-3a1b6f0b8d10")


def write(statement: Statement, patches: Mapping[str, bytes]) -> bytes:
    """Return the CycloneDX 1.6 JSON of the wheel that ``statement`` describes; ``patches`` holds their bytes by name.

    Serial number and time follow from the statement, so the same wheel has the same bill.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Commit, Component, ComponentType, Pedigree
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def pypi(version: str) -> PackageURL:
        return PackageURL("pypi", name=statement.project, version=version)

    told = msgspec.json.encode(statement, order="deterministic")
    upstream = statement.version.partition("+")[0]
    made_of = list(filter(None, (statement.sdist or statement.packed or statement.base,)))
    origin = Component(
        name=statement.project,
        version=upstream,
        type=ComponentType.LIBRARY,
        purl=pypi(upstream),
        bom_ref=f"upstream:{statement.project}@{upstream}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.sha256) for one in made_of],
    )
    subject = Component(
        name=statement.project,
        version=statement.version,
        type=ComponentType.LIBRARY,
        purl=pypi(statement.version),
        bom_ref=f"{statement.project}@{statement.version}",
        pedigree=Pedigree(
            ancestors=[origin],
            commits=[Commit(uid=statement.commit)] if statement.commit else [],
            patches=[_patch(one, patches[one.name]) for one in statement.series],
        ),
    )
    submodules = [*_submodules(statement), *_device_tools(statement)]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, told.decode()),
        metadata=BomMetaData(component=subject, timestamp=datetime.fromtimestamp(statement.commit_time, UTC)),
        components=submodules,
    )
    bom.register_dependency(subject, submodules)
    return (JsonV1Dot6(bom).output_as_string(indent=2) + "\n").encode()


def _patch(patch: PatchStatement, data: bytes) -> Patch:
    from cyclonedx.model import AttachedText
    from cyclonedx.model.component import Diff, Patch, PatchClassification
    from cyclonedx.model.issue import IssueClassification, IssueType

    backport = patch.upstream.startswith("fixed in")
    return Patch(
        type=PatchClassification.BACKPORT if backport else PatchClassification.UNOFFICIAL,
        diff=Diff(text=AttachedText(content=data.decode("utf-8", "replace"), content_type="text/x-diff")),
        resolves=[
            IssueType(
                type=IssueClassification.DEFECT, id=patch.name, name=patch.subject, description=patch.breaks
            )
        ],
    )


def _device_tools(statement: Statement) -> Iterable[Component]:
    """Yield what made the device code; excluded: the build needs it, who installs the wheel does not."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentScope, ComponentType

    made = statement.compiled.device if statement.compiled else None
    for role, told in structs.asdict(made).items() if made else ():
        name, _, version = (
            told.rpartition(" ") if role != "compiler" else told.partition(" (")[0].rpartition(" ")
        )
        yield Component(
            name=name,
            version=version,
            type=ComponentType.APPLICATION,
            scope=ComponentScope.EXCLUDED,
            bom_ref=f"device-{role}:{told}",
            properties=[Property(name=f"retread:device-{role}", value=told)],
        )


def _submodules(statement: Statement) -> Iterable[Component]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    for submodule in statement.submodules:
        address = urlsplit(submodule.repository)
        namespace, _, name = address.path.strip("/").removesuffix(".git").rpartition("/")
        github = address.hostname == "github.com"
        yield Component(
            name=name,
            version=submodule.commit,
            type=ComponentType.LIBRARY,
            purl=PackageURL("github", namespace, name, submodule.commit) if github else None,
            bom_ref=f"submodule:{submodule.path}",
        )
