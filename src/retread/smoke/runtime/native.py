"""The suite of every wheel with libraries: each loads, its operators register, the driver takes its machine code."""

from __future__ import annotations

import ctypes
import glob
import importlib
import mmap
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retread.smoke.runtime import fatbins, harness
else:
    import fatbins
    import harness

SETTING = harness.setting()
MISSING = re.compile(r"^(\S+\.so[.\d]*): cannot open shared object file")
DRIVER = re.compile(r"lib(cuda|nvidia-ml|nvcuvid|nvidia-encode)\.so")
EAGER = {"CUDA_DISABLE_PTX_JIT": "1", "CUDA_MODULE_LOADING": "EAGER"}
"""The driver takes machine code alone, and takes all of it at once."""
MAJOR, MINOR = 75, 76
"""Numbers that the driver has for a GPU's compute capability (CUdevice_attribute)."""


def place(library: str) -> str:
    """Return where a member of the wheel lies once it is installed."""
    return fatbins.place(SETTING["site"], library)


def surround() -> None:
    """Import torch where the wheel is made for one: what it brings is then found, as on a user's machine."""
    if SETTING["torch"]:
        importlib.import_module("torch")


def opened(path: str, tried: set[str]) -> ctypes.CDLL:
    """Load a library with all that it needs; what no run path finds is looked for among NVIDIA's wheels."""
    while True:
        try:
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL if tried else ctypes.RTLD_LOCAL)
        except OSError as error:
            found = MISSING.match(str(error))
            if not found or found[1] in tried or not (beside := provided(found[1])):
                raise
            tried.add(found[1])
            opened(beside, tried)


def provided(name: str) -> str:
    """Return where a wheel of NVIDIA's has a library; nothing when there is none."""
    places = (os.path.join(glob.escape(folder), "nvidia", "*", "lib*", name) for folder in sys.path if folder)
    return next((path for pattern in places for path in sorted(glob.glob(pattern))), "")


def loads(library: str) -> None:
    """Load a library. What it needs and this machine lacks is not the wheel's fault: the audit says who provides it."""
    surround()
    try:
        opened(place(library), set())
    except OSError as error:
        found = MISSING.match(str(error))
        if not found:
            raise AssertionError(str(error)) from None
        raise harness.Skip(
            f"it needs {found[1]}, which {'the driver' if DRIVER.match(found[1]) else 'nothing here'} provides"
        ) from None


def operators() -> dict[str, Any]:
    """Load every library and ask torch which operators came with them, and which of these something implements."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        raise harness.Skip("there is no torch here") from None
    ask, implemented = torch._C._dispatch_get_all_op_names, torch._C._dispatch_has_kernel
    before, lost = set(ask()), 0
    for library in SETTING["libraries"]:
        try:
            opened(place(library), set())
        except OSError:
            lost += 1  # its own case says why
    found = sorted(set(ask()) - before)
    if not found:
        more = f", of which {lost} cannot be loaded here" if lost else ""
        count = len(SETTING["libraries"])
        raise harness.Skip(f"no operators from its {f'{count} libraries' if count != 1 else 'library'}{more}")
    bare = [name for name in found if not implemented(name)]
    assert len(bare) < len(found), f"nothing implements any operator: {', '.join(bare[:5])}"
    spaces = sorted({name.partition("::")[0] for name in found})
    return {"operators": len(found), "namespaces": " ".join(spaces), "not implemented": len(bare)}


def contents(library: str) -> tuple[memoryview, list[fatbins.Module]]:
    """Return the bytes of a library, and its modules."""
    with open(place(library), "rb") as stream:
        data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))
    return data, fatbins.modules(data)


class Driver:
    """NVIDIA's driver, through its own interface; without torch, whose code it would load, too."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError:
            raise harness.Skip("there is no NVIDIA driver here") from None
        self.demand("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.demand("cuDeviceGet", ctypes.byref(device), 0)
        self.capability = (self.attribute(MAJOR, device), self.attribute(MINOR, device))
        self.demand("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.demand("cuCtxSetCurrent", context)

    def attribute(self, number: int, device: ctypes.c_int) -> int:
        """Return a property of a GPU."""
        value = ctypes.c_int()
        self.demand("cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value

    def demand(self, function: str, *arguments: object) -> None:
        """Call the driver; AssertionError with its word for what went wrong."""
        said = self.call(function, *arguments)
        assert not said, f"{function}: {said}"

    def call(self, function: str, *arguments: object) -> str:
        """Call the driver and return its word for what went wrong; nothing when nothing did."""
        code = getattr(self.library, function)(*arguments)
        if not code:
            return ""
        name = ctypes.c_char_p()
        self.library.cuGetErrorName(code, ctypes.byref(name))
        return (name.value or b"error %d" % code).decode()

    def taken(self, image: ctypes.Array[ctypes.c_char]) -> tuple[str, int]:
        """Load a fat binary and unload it; return the driver's word for what went wrong, and the number of kernels."""
        module, count = ctypes.c_void_p(), ctypes.c_uint()
        if said := self.call("cuModuleLoadData", ctypes.byref(module), image):
            return said, 0
        if hasattr(self.library, "cuModuleGetFunctionCount"):  # since CUDA 12.4
            self.demand("cuModuleGetFunctionCount", ctypes.byref(count), module)
        self.demand("cuModuleUnload", module)
        return "", count.value


def code(library: str) -> dict[str, Any]:
    """Have the driver load the machine code of each module, with its compiler for PTX switched off."""
    driver, (data, found) = Driver(), contents(library)
    kernels, native, faults = 0, 0, []
    for index, one in enumerate(found):
        if not one.has(fatbins.MACHINE, driver.capability):
            continue
        native += 1
        image = (ctypes.c_char * one.size).from_buffer(data, one.offset)
        said, count = driver.taken(image)
        kernels += count
        faults += [f"module {index}: {said}"] if said else []
    if not native:
        raise harness.Skip(
            "no module has machine code for this GPU: the driver makes it of PTX, if there is any"
        )
    more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
    assert not faults, f"the driver does not take {', '.join(faults[:5])}{more}"
    return {"modules": len(found), "native": native, "kernels": kernels}


def hidden(library: str) -> dict[str, Any]:
    """Have the driver refuse each module that is to be compiled from PTX: it finds no machine code in it."""
    driver, (data, found) = Driver(), contents(library)
    portable = [one for one in found if one.has(fatbins.PTX, driver.capability)]
    said = [driver.taken((ctypes.c_char * one.size).from_buffer(data, one.offset))[0] for one in portable]
    assert all(said), f"{said.count('')} of {len(said)} modules still have machine code for this GPU"
    return {"modules": len(said), "the driver's word": " ".join(sorted(set(said)))}


def with_code() -> Iterator[str]:
    """Yield the libraries that hold device code; one that cannot be read is among them, so that its case says so."""
    for library in SETTING["libraries"]:
        try:
            _, found = contents(library)
        except (OSError, ValueError):
            yield library
        else:
            if found:
                yield library


if SETTING["site"] and SETTING["libraries"]:
    for one in SETTING["libraries"]:
        harness.case(f"native/loads/{one}", level="static", limit=180, library=one)(loads)
    harness.case("native/operators", level="static", limit=180, alone=True)(operators)
    for one in with_code():
        name, function = ("hidden", hidden) if SETTING["portable"] else ("code", code)
        harness.case(f"native/{name}/{one}", level="gpu", limit=180, env=EAGER, library=one)(function)

if __name__ == "__main__":
    harness.main()
