"""The variables of the environment that are retread's own. What is wrong with a value is told by the variable's name.

Those of others (pip's, twine's, sccache's) keep their names and their meaning, and are read where they are needed.
"""

from __future__ import annotations

from contextlib import contextmanager

from retread.errors import RetreadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

STORE: Final = "RETREAD_STORE"
SHARED: Final = "RETREAD_SHARED"
SHARED_KEY: Final = "RETREAD_SHARED_KEY"
SHARED_POLICY: Final = "RETREAD_SHARED_POLICY"
SCCACHE: Final = "RETREAD_SCCACHE"
SANDBOX: Final = "RETREAD_SANDBOX"
CUDA_MIRROR: Final = "RETREAD_CUDA_MIRROR"
DEBIAN_MIRROR: Final = "RETREAD_DEBIAN_MIRROR"
EVERY: Final = {
    STORE: "the folder of the store; default: ~/.cache/retread",
    SHARED: "a store that machines share (docs/guides/shared-store.md)",
    SHARED_KEY: "the file of the key that signs what is given there",
    SHARED_POLICY: "the policy whose builders are believed there",
    SCCACHE: "a compile cache that machines share (the same page)",
    SANDBOX: "demand, off: builds and tests behind walls or not",
    CUDA_MIRROR: "an address or a folder with NVIDIA's redistributables",
    DEBIAN_MIRROR: "the same with Debian's archive",
}
"""Each with what it is for."""


def source(variable: str, environment: Mapping[str, str]) -> str:
    """Return how a message begins about something that a variable gave; nothing where that is not set."""
    return f"{variable}: " if environment.get(variable) else ""


@contextmanager
def named(variable: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Let a refusal begin with the variable that gave what is refused, where that is set."""
    try:
        yield
    except RetreadError as error:
        error.begin(source(variable, environment))
        raise
