"""A recipe as it is for one platform: its targets with what is otherwise there laid over them. Pure."""

from __future__ import annotations

import msgspec

from retread.platforms import DEFAULT, Platform
from retread.recipe.model import Recipe, Target, Variant

_OWN = ("base", "image")
"""Fields of a platform that are never the target's own."""


def of_recipe(recipe: Recipe, platform: Platform) -> Recipe:
    """Return the recipe for a platform, with those targets alone that are made for it."""
    targets = {name: of_target(target, platform) for name, target in recipe.targets.items()}
    there = {name: target for name, target in targets.items() if target is not None}
    return msgspec.structs.replace(recipe, targets=there)


def of_target(target: Target, platform: Platform) -> Target | None:
    """Return a target for a platform, or None when it is not made for that."""
    if platform is DEFAULT:
        return msgspec.structs.replace(target, platforms={})
    variant = target.platforms.get(platform)
    return None if variant is None else _laid_over(target, variant, platform)


def _laid_over(target: Target, variant: Variant, platform: Platform) -> Target:
    said = {
        name: value for name, value in msgspec.structs.asdict(variant).items() if name not in _OWN and value
    }
    container = target.container
    image = msgspec.structs.replace(container, image=variant.image) if container and variant.image else None
    return msgspec.structs.replace(
        target,
        **{**said, "architectures": variant.architectures, "ptx": variant.ptx},
        base=variant.base,
        build=None if platform is Platform.WIN_AMD64 else target.build,
        container=image,
        platforms={},
    )


def platforms(target: Target) -> tuple[str, ...]:
    """Return the platforms that a target is made for, the default first."""
    return (DEFAULT, *target.platforms)
