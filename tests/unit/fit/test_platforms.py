"""Environments on aarch64 machines: what a target has for them, or that it is not made for them."""

from __future__ import annotations

import msgspec

from fitting import KNOWN, environment, made
from retread.arch import Arch
from retread.fit.candidates import candidates
from retread.fit.catalogue import Code, Release
from retread.fit.environment import Environment, Package
from retread.fit.judge import judge
from retread.fit.obstacles import gpus, obstacles

ARM = {"aarch64": Code(architectures=(Arch("9.0a"), Arch("10.0")), ptx=())}


def on_arm(gpu: str, *packages: Package) -> Environment:
    found = environment(*packages, gpus=gpu, driver="580.65", cuda="13.0")
    there = msgspec.structs.replace(found.interpreter, machine="aarch64")
    return msgspec.structs.replace(found, interpreter=there)


def test_code_is_that_of_the_environment_s_machine() -> None:
    own = made("cu130", ">=2.8", python=">=3.10")
    assert "it can be compiled for x86_64; aarch64 is here" in obstacles(on_arm("12.1"), own)
    code = Code(architectures=(Arch("12.1"),), ptx=())
    both = msgspec.structs.replace(own, platforms={"aarch64": code})
    assert obstacles(on_arm("12.1"), both) == []
    assert gpus(on_arm("12.1"), both)[Arch("12.1")] == "native, tuned for it"
    assert gpus(on_arm("12.1"), own)[Arch("12.1")] == "native"


def test_a_grace_machine_is_told_the_wheel_that_is_made_for_it() -> None:
    def there(one: Release) -> Release:
        return msgspec.structs.replace(
            one, made=tuple(msgspec.structs.replace(made, platforms=ARM) for made in one.made)
        )

    known = msgspec.structs.replace(KNOWN, releases=(there(KNOWN.releases[0]), *KNOWN.releases[1:]))
    torch = Package(name="torch", version="2.11.0", requires=("triton==3.6.0",))
    found = candidates(on_arm("10.3", torch), known, ())
    assert [(one.recipe, one.target) for one in found if one.fits] == [("demo-1.2", "cu130")]
    assert found[0].gpus == {Arch("10.3"): "native"}
    assert found[0].get == "make wheel RECIPE=demo-1.2 TARGET=cu130 PLATFORM=aarch64"
    assert "demo 1.2+cu130.1" in judge(on_arm("10.3", torch), known).verdict
