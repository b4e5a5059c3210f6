"""A small catalogue and environments to hold against it: a project 'demo', its series, its releases."""

from __future__ import annotations

import msgspec

from retread.arch import Arch
from retread.elf.facts import LibraryFacts, Module
from retread.fit.catalogue import Call, Catalogue, Except, Fault, Made, Measured, Official, Release, Usage
from retread.fit.environment import Environment, Hardware, Interpreter, Library, Package
from retread.recipe.symptom import Symptom

PYTHON = Interpreter(
    executable="/venv/bin/python", version="3.12.3", abi="cp312", machine="x86_64", glibc=(2, 36), paths=()
)
TORCH = Package(name="torch", version="2.8.0", requires=("triton==3.4.0",))
TRITON = Package(name="triton", version="3.4.0")
PIP = Package(name="pip", version="25.3")


def code(*sass: str, ptx: tuple[str, ...] = ()) -> LibraryFacts:
    """Return a library with two modules of the same code."""
    archs, texts = tuple(map(Arch, sass)), tuple(map(Arch, ptx))
    modules = tuple(Module(index=index, sass=archs, ptx=texts) for index in range(2))
    return LibraryFacts(machine="x86_64", needed=(), run_path=(), versions=(), undefined=(), modules=modules)


def library(path: str, *sass: str, isa: tuple[int, int] = (8, 7), ptx: tuple[str, ...] = ()) -> Library:
    """Return a library as a survey reads it."""
    return Library(path=path, facts=code(*sass, ptx=ptx), isa={Arch(one): isa for one in ptx})


def demo(version: str = "1.2", *libraries: Library, mends: tuple[str, ...] = ()) -> Package:
    """Return the project as it is installed."""
    return Package(name="demo", version=version, libraries=libraries, mends=mends)


def environment(
    *packages: Package, gpus: str = "", driver: str = "", cuda: str = "12.8", python: str = "3.12.3"
) -> Environment:
    """Return an environment with torch 2.8.0 for CUDA 12.8, where nothing else is said."""
    names = {one.name for one in packages}
    rest = [one for one in (TORCH, TRITON, PIP) if one.name not in names]
    major, minor = python.split(".")[:2]
    interpreter = msgspec.structs.replace(PYTHON, version=python, abi=f"cp{major}{minor}")
    hardware = Hardware(gpus=tuple(map(Arch, gpus.split())), driver=driver, source="the options")
    return Environment(
        interpreter=interpreter, packages=(*packages, *rest), torch_cuda=cuda, hardware=hardware
    )


def made(
    target: str, torch: str, *, base: str = "", python: str = "", requires: tuple[str, ...] = ()
) -> Made:
    """Return a target for 8.0, 9.0a and 12.0, with PTX for 8.0."""
    cuda = f"{target[2:4]}.{target[4:]}"
    return Made(
        target=target,
        cuda=cuda,
        torch=torch,
        version="",
        python=python,
        bases=(base,) if base else (),
        architectures=(Arch("8.0"), Arch("9.0a"), Arch("12.0")),
        ptx=(Arch("8.0"),),
        exempt=(
            Except(library="demo/fa.so", architectures=(Arch("9.0a"),), ptx=(), reason="It is for Hopper"),
        ),
        requires=requires,
        note="",
    )


def release(version: str, *targets: Made, faults: tuple[str, ...] = ()) -> Release:
    """Return a recipe."""
    named = (msgspec.structs.replace(one, version=f"{version}+{one.target}.1") for one in targets)
    return Release(
        recipe=f"demo-{version}", project="demo", version=version, faults=faults, made=tuple(named)
    )


def symptom(text: str, **when: str) -> Symptom:
    """Return a text with its conditions."""
    return Symptom(text=text, when=when)


SRC = Fault(
    name="set-source",
    project="demo",
    subject="Set the source as newer Triton asks",
    breaks='"import demo" dies.',
    affects="Triton 3.3 and later",
    upstream="fixed in 1.3 (4cf69f09)",
    releases="<1.3",
    seen_as=(
        symptom("Cannot set attribute 'src' directly", triton=">=3.3,<3.5"),
        symptom("_set_src() takes 1 positional argument", triton=">=3.5"),
    ),
)
CAP = Fault(
    name="cap",
    project="demo",
    subject="Run on newer GPUs",
    breaks="fp32 attention on newer GPUs",
    affects="GPUs above 9.0",
    upstream="not reported",
    releases=">1.2",
    seen_as=(symptom("requires device with capability <= (9, 0)", gpu=">9.0"),),
)
USAGE = Usage(
    project="demo",
    imports=("demo.ops",),
    release=(
        Official(
            version="1.2",
            torch="==2.6.0",
            cuda="12.4",
            wheels=("demo-1.2-cp312-cp312-manylinux_2_28_x86_64.whl",),
        ),
        Official(
            version="1.3",
            torch="==2.8.0",
            cuda="12.8",
            wheels=("demo-1.3-cp39-abi3-manylinux_2_28_x86_64.whl",),
            architectures=(Arch("8.0"),),
            ptx=(Arch("8.0"),),
        ),
    ),
    measured=(Measured(gpu=Arch("9.0"), says="torch is as fast"),),
    call=(
        Call(name="demo.ops.attention", torch=">=2.0", instead="torch's", difference="the layout"),
        Call(name="demo.ops.masks.Block*", torch=">=2.10", instead="varlen", difference="lengths"),
        Call(name="demo.ops.tree", difference="torch has none"),
        Call(name="enable_demo", torch=">=2.0", instead="nothing", difference="leave it out"),
        Call(name="demo", difference="nothing is known"),
    ),
)  # fmt: skip
KNOWN = Catalogue(
    schema=1,
    releases=(
        release(
            "1.2",
            made("cu128", "==2.8.0", python=">=3.9,<3.14"),
            made("cu130", "==2.11.0", python=">=3.10,<3.15"),
            faults=("set-source",),
        ),
        release("1.3", made("cu128", "==2.8.0", base="demo-1.3-cp39-abi3-manylinux_2_28_x86_64.whl"), faults=("cap",)),
        release(
            "1.4",
            made(
                "cu128",
                ">=2.10",
                base="demo-1.4-py39-none-manylinux_2_28_x86_64.whl",
                requires=("nvidia-cuda-runtime-cu12>=12.8",),
            ),
            faults=("cap",),
        ),
    ),
    faults=(CAP, SRC),
    usage=(USAGE,),
)  # fmt: skip
