"""Walls around a program that nobody here vouches for: bubblewrap shows it a few folders, and nothing else.

It has processes, a network, a /tmp and a /proc of its own, no rights, and of this machine what its packages brought.
Where bubblewrap is not installed, or the kernel lets nobody make namespaces, there are none: who runs the program says
so, or refuses (``SANDBOX``).
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from retread.doors import proc
from retread.errors import ToolError, UsageError
from retread.variables import SANDBOX

_CHOICES: Final = ("", "demand", "off")
"""What becomes of a machine that has no walls: nothing runs (``demand``), or all runs and is told; with ``off`` there
are none."""
_NAME: Final = "bwrap"
_SYSTEM: Final = ("/usr", "/opt", "/nix/store", "/gnu/store")
"""Where packages lie. What a build or a test runs of the machine itself is here, or is named."""
_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Of /usr on most systems, folders of their own on others."""
_SETTINGS: Final = (
    "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "passwd", "group", "nsswitch.conf", "localtime",
    "timezone", "os-release", "OpenCL", "vulkan",
)  # fmt: skip
"""What programs need of /etc, where keys and passwords lie, too."""
_NETWORK: Final = ("resolv.conf", "hosts", "ssl", "pki", "ca-certificates", "gai.conf")
_SHARE: Final = 4
"""A quarter of the machine's memory for /tmp, and for shared memory: a unit of nvcc's writes some hundred MB there."""


class Seen(NamedTuple):
    """A file or folder, where it lies behind the walls, and whether it can be written."""

    real: str
    seen: str
    write: bool = False


class Walls(NamedTuple):
    """What a program sees beside the machine's own packages, and where it starts."""

    seen: tuple[Seen, ...]
    folder: str = "/"
    network: bool = False
    devices: bool = False
    """Whether it sees the machine's devices: GPUs."""

    def command(self) -> list[str]:
        """Return what stands before the program's own command; when that ends, all that it started ends."""
        words = [_program() or _NAME, "--unshare-all", "--cap-drop", "ALL", "--die-with-parent"]
        words += ["--share-net"] if self.network else []
        words += _system(self.network)
        words += ["--proc", "/proc", *(["--dev-bind", "/dev", "/dev"] if self.devices else ["--dev", "/dev"])]
        words += [*_bounded("/dev/shm"), *_bounded("/tmp"), "--symlink", "/tmp", "/var/tmp"]
        for one in self.seen:
            words += ["--bind" if one.write else "--ro-bind", one.real, one.seen]
        words += [*([] if self.devices else ["--remount-ro", "/dev"]), "--remount-ro", "/"]
        return [*words, "--chdir", self.folder, "--"]


def _system(network: bool) -> list[str]:
    words: list[str] = []
    for one in (*_SYSTEM, "/sys"):
        words += ["--ro-bind-try", one, one]
    for one in _LINKS:
        if Path(one).is_symlink():
            words += ["--symlink", os.readlink(one), one]  # noqa: PTH115 - as it is written
        else:
            words += ["--ro-bind-try", one, one]
    for one in (*_SETTINGS, *(_NETWORK if network else ())):
        words += ["--ro-bind-try", f"/etc/{one}", f"/etc/{one}"]
    return words


def limit() -> int:
    """Return how many bytes a program's own /tmp holds at most."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE


def _bounded(folder: str) -> list[str]:
    return ["--size", str(limit()), "--tmpfs", folder]


def choice(environment: Mapping[str, str]) -> str:
    """Return what ``SANDBOX`` says; UsageError for what it cannot say."""
    found = environment.get(SANDBOX, "")
    if found not in _CHOICES:
        raise UsageError(
            f"{SANDBOX}: {found!r} is neither 'demand' nor 'off'", hint="say one of them, or unset it"
        )
    return found


def absence(environment: Mapping[str, str]) -> str:
    """Say why there are no walls here, in words that end a sentence; nothing where there are.

    ToolError where the user demands them (``SANDBOX``).
    """
    policy = choice(environment)
    why = f"{SANDBOX} is off" if policy == "off" else _impossible()
    if why:
        demand(environment, why)
    return why


def demand(environment: Mapping[str, str], why: str) -> None:
    """Raise ToolError that says why there are no walls, where the user demands them."""
    if environment.get(SANDBOX) == "demand":
        raise ToolError(f"nothing is run without walls around it ({SANDBOX}), and {why}", hint=HINT)


OPEN: Final = "can read and write what you can, and reach the network"
"""What is to be said of whatever runs without walls."""
HINT: Final = "install bubblewrap (on Debian: apt-get install bubblewrap)"


def _program() -> str:
    return shutil.which(_NAME) or ""


@functools.cache
def _impossible() -> str:
    if not _program():
        return "bubblewrap is not installed"
    done = proc.run([*Walls(()).command(), "true"], env={"PATH": os.environ.get("PATH", "")}, check=False)
    if not done.code:
        return ""
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    return f"bubblewrap cannot make namespaces here ({said[-1]})"


def readable(paths: Iterable[str | Path]) -> tuple[Seen, ...]:
    """Return files and folders of this machine as they are, to be read, each where it is named and where it lies.

    What the walls show anyway is left out; so are the root and the home, for too much lies below them.
    """
    found: dict[str, None] = {}
    for path in (os.fspath(path) for path in paths):
        for one in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100 - links count
            if os.path.exists(one) and one not in {"/", os.path.expanduser("~")}:  # noqa: PTH110, PTH111
                found[one] = None
    own = (*_SYSTEM, *_LINKS)
    return tuple(
        Seen(one, one)
        for one in sorted(found)
        if not any(one == top or one.startswith(f"{top}/") for top in own)
        and not any(one.startswith(f"{top}/") for top in found)
    )


def hops(program: str | Path) -> list[str]:
    """Return a program's path and every link on the way to its file."""
    found = [os.path.abspath(program)]  # noqa: PTH100
    while os.path.islink(found[-1]):  # noqa: PTH114
        target = os.readlink(found[-1])  # noqa: PTH115
        found.append(os.path.normpath(os.path.join(os.path.dirname(found[-1]), target)))  # noqa: PTH118, PTH120
    return found
