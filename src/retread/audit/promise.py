"""What a target promises of its wheels. Pure."""

from __future__ import annotations

from retread.recipe.model import Recipe, Target
from retread.records import narrowed
from retread.wheel.statement import Exempt, Promise, Proof


def promise(recipe: Recipe, target: Target, version: str) -> Promise:
    """Return what a target promises of its wheels of this version."""
    from packaging.utils import canonicalize_name

    return Promise(
        project=canonicalize_name(recipe.project),
        version=version,
        cuda=target.cuda,
        torch=target.torch,
        architectures=target.architectures,
        ptx=target.ptx,
        exempt=narrowed(target.exempt, tuple[Exempt, ...]),
        requires=target.requires,
        run_path=dict(target.run_path),
        note=target.note,
        waived=dict(target.waive),
        some=target.some,
        proof=proof(target),
    )


def proof(target: Target) -> Proof:
    """Return what a target's wheels have to be proven by."""
    trial = target.smoke
    return Proof(gpu=trial.gpu, triton=trial.triton) if trial else Proof(gpu=(), triton=())
