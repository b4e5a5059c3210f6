"""Environments on aarch64 machines: what a target has for them, or that it is not made for them."""

from __future__ import annotations

import msgspec

from fitting import environment, made
from retread.arch import Arch
from retread.fit.catalogue import Code
from retread.fit.environment import Environment
from retread.fit.obstacles import gpus, obstacles


def on_arm(gpu: str) -> Environment:
    found = environment(gpus=gpu, driver="580.65", cuda="13.0")
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
