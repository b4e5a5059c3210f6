"""Why a target's wheels do not fit an environment: torch, CUDA, Python, machine, driver. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from packaging import tags
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from retread import pypa
from retread.arch import Arch
from retread.fit import serving
from retread.fit.catalogue import Made, Official
from retread.fit.driver import Cuda
from retread.fit.environment import Environment, Interpreter

if TYPE_CHECKING:
    from packaging.tags import Tag

_COMPILED: Final = "x86_64"
"""What a target speaks of, where it names no platform."""
_RUNTIME: Final = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")
"""Who requires it brings its libcudart, whatever torch is built for."""
_OLDEST_GLIBC: Final = 5
"""manylinux1's; the one before nobody names."""
_OLD_NAMES: Final[Mapping[int, str]] = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def obstacles(environment: Environment, made: Made) -> list[str]:
    """Return every reason why a target's wheels do not fit, but for the tags of base wheels and GPU code."""
    found = [*_torch(environment, made), *_python(environment, made), *_driver(environment, made)]
    return found if _brings_runtime(made) or not made.torch else [*found, *_other_cuda(environment, made)]


def of_official(environment: Environment, release: Official) -> list[str]:
    """Return the same of an official release."""
    return [
        *_torch(environment, release),
        *_other_cuda(environment, release),
        *_driver(environment, release),
    ]


def _torch(environment: Environment, made: Made | Official) -> Iterator[str]:
    if not made.torch:
        return
    torch = environment.version("torch")
    if not torch:
        yield f"it is for torch {made.torch}; no torch is installed here"
        return
    if not within(torch, made.torch):
        yield f"it is for torch {made.torch}; {torch} is installed"
    if not environment.torch_cuda:
        yield "the installed torch is not built for CUDA"


def _other_cuda(environment: Environment, made: Made | Official) -> Iterator[str]:
    """Yield that the installed torch brings the libraries of another CUDA, if it does."""
    cuda, major = environment.torch_cuda, cuda_of(made.cuda)[0]
    if cuda and cuda_of(cuda)[0] != major:
        runtime = f"cudart64_{major}.dll" if environment.windows else f"libcudart.so.{major}"
        yield f"it needs {runtime}; the installed torch is built for CUDA {cuda}"


def _brings_runtime(made: Made) -> bool:
    """Say whether a target's wheels require a CUDA runtime of their own."""
    return any(_RUNTIME.fullmatch(name_of(one)) for one in made.requires)


def _python(environment: Environment, made: Made) -> Iterator[str]:
    if made.python and not within(environment.interpreter.version, made.python):
        yield f"it can be compiled for Python {made.python}; {environment.interpreter.version} is here"
    machine = environment.interpreter.here
    if made.python and machine != _COMPILED and machine not in made.platforms:
        yield f"it can be compiled for {', '.join((_COMPILED, *made.platforms))}; {machine} is here"


def _driver(environment: Environment, made: Made | Official) -> Iterator[str]:
    driver, cuda = environment.driver, cuda_of(made.cuda)
    if driver.version and not driver.serves(cuda):
        yield f"CUDA {made.cuda} needs driver >= {driver.first((cuda[0], 0))}; {driver.version} is here"


def gpus(environment: Environment, made: Made | Official) -> dict[Arch, str]:
    """Return how each GPU runs a target's wheels, or a release's; nothing where nobody knows."""
    cuda, driver = cuda_of(made.cuda), environment.driver
    made = made.on(environment.interpreter.here) if isinstance(made, Made) else made
    return {
        gpu: serving.of_architectures(made.architectures, made.ptx, gpu, cuda=cuda, driver=driver)
        for gpu in environment.hardware.gpus
        if made.architectures
    }


def fitting(wheels: Sequence[str], environment: Environment) -> tuple[str, list[str]]:
    """Return the wheel for this Python and machine, or why there is none; neither where none is named."""
    if not wheels:
        return "", []
    served = supported(environment.interpreter)
    for file in wheels:
        if pypa.wheel_name(file)[3] & served:
            return file, []
    return "", [wrong_tags(wheels, environment.interpreter)]


def wrong_tags(files: Iterable[str], python: Interpreter) -> str:
    """Return why none of some wheels installs here."""
    found = [tag for file in files for tag in pypa.wheel_name(file)[3]]
    pythons = " ".join(sorted({f"{tag.interpreter}-{tag.abi}" for tag in found}))
    platforms = " ".join(sorted({tag.platform for tag in found}))
    if python.platform:
        return f"its wheels are for {pythons} on {platforms}; here are {python.abi}, {python.platform}"
    libc = f"glibc {'.'.join(map(str, python.glibc))}" if python.glibc else "another C library than glibc"
    return f"its wheels are for {pythons} on {platforms}; here are {python.abi}, {python.machine}, {libc}"


@functools.cache
def supported(python: Interpreter) -> frozenset[Tag]:
    """Return the tags of wheels that install here."""
    major, minor = (int(one) for one in python.version.split(".")[:2])
    platforms = [python.platform] if python.platform else list(_platforms(python.machine, python.glibc))
    native = tags.cpython_tags((major, minor), [python.abi], platforms)
    return frozenset([*native, *tags.compatible_tags((major, minor), f"cp{major}{minor}", platforms)])


def _platforms(machine: str, glibc: Sequence[int]) -> Iterator[str]:
    for minor in range(glibc[1] if glibc else 0, _OLDEST_GLIBC - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _OLD_NAMES:
            yield f"{_OLD_NAMES[minor]}_{machine}"
    yield f"linux_{machine}"


def name_of(requirement: str) -> str:
    """Return whom a requirement names."""
    return canonicalize_name(pypa.requirement(requirement).name)


def cuda_of(text: str) -> Cuda:
    """Return a CUDA release as numbers."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def within(version: str, allowed: str) -> bool:
    """Say whether a version is in a range; nothing that is no version is."""
    try:
        return pypa.specifiers(allowed).contains(pypa.version(version), prereleases=True)
    except InvalidVersion:
        return False
