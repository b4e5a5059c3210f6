"""The machines that are compiled for from another one: Debian's packages that make up a root of theirs. Pure.

Bytes in, a record or one report of every fault out.
"""

from __future__ import annotations

from collections.abc import Iterator

from retread import strict
from retread.errors import RecipeError
from retread.fields import Digest, Table, Text, is_inside
from retread.recipe.toolchain import Part
from retread.strict import count, toml


class Package(Table, frozen=True, kw_only=True):
    """A package of Debian's for that machine."""

    deb: Text
    """Its place in Debian's archive, or in that of its security updates."""
    sha256: Digest
    """What its bytes have to be."""


class System(Table, frozen=True, kw_only=True):
    """A Python of another machine with the libraries that it stands on."""

    name: Text
    """The file's name, and the machine."""
    python: Text
    """The Python's version: ``3.11``."""
    manylinux: Text
    """The newest manylinux whose wheels its C library runs: ``manylinux_2_36``."""
    package: tuple[Package, ...]
    """The packages; a file is of one of them alone."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The packages, as parts that can be fetched."""
        return tuple(
            Part(
                component=file.partition("_")[0],
                machine=self.name,
                deb=one.deb,
                file=file,
                sha256=one.sha256,
            )
            for one in self.package
            for file in (one.deb.rpartition("/")[2],)
        )


def parse_system(data: bytes, *, name: str) -> System:
    """Return the system in ``data``; RecipeError lists every fault with its key path."""
    system, faults = strict.read(System, toml(data, name))
    if system is not None:
        faults = list(_faults(system, name))
    if system is None or faults:
        raise RecipeError(f"system {name} has {count(faults)}", faults=faults)
    return system


def _faults(system: System, name: str) -> Iterator[str]:
    if system.name != name:
        yield f"name: is {system.name!r}, the file is {name}.toml"
    for index, one in enumerate(system.package):
        if not is_inside(one.deb) or not one.deb.endswith(".deb"):
            yield f"package[{index}].deb: {one.deb!r} is no place of a .deb in an archive"
