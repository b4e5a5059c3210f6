"""retread: a pinned upstream commit and an ordered patch series in, a wheel with its proof out.

``inspect``, ``audit``, ``compare``, ``graft`` and ``verify`` are for other programs, and so are ``RetreadError`` and
``__version__``; docs/reference/api.md shows them. Nothing else is promised, and nothing is imported before it is used.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from retread.api import audit, compare, graft, inspect, verify
    from retread.errors import RetreadError
    from retread.version import __version__

__all__ = ["RetreadError", "__version__", "audit", "compare", "graft", "inspect", "verify"]
_PLACES = {"RetreadError": "errors", "__version__": "version"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'retread' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"retread.{_PLACES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return __all__


class _Public(ModuleType):
    """A module whose public names are what they are promised to be: ``retread.audit`` is also a package."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; a package that was imported does not take the place of a public name."""
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Public
