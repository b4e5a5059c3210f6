"""Errors are known by their texts, wherever a log breaks or colours them, and however long it is."""

from __future__ import annotations

import msgspec
import pytest

from fitting import KNOWN
from retread.fit import explain, table
from retread.fit.explain import Explained


def explained(*blocks: bytes) -> tuple[Explained, ...]:
    return explain.explain(KNOWN, blocks)


@pytest.mark.parametrize(
    "text",
    [
        b"AttributeError: Cannot set attribute 'src' directly. Use '_unsafe_update_src()'",
        b"x\nCannot set\n  attribute \x1b[31m'src'\x1b[0m\r\n directly",
        b"\xff\x00" * 1000
        + b"TypeError: JITCallable._set_src() takes 1 positional argument but 2 were given",
    ],
)
def test_a_fault_is_known_by_any_of_its_texts(text: bytes) -> None:
    (found,) = explained(text)
    assert (found.project, found.fault) == ("demo", "set-source")
    assert found.take == "upstream mended it in demo 1.3; take the release that is made for your torch"


def test_what_to_take_is_said_for_every_torch() -> None:
    (found,) = explained(b"Cannot set attribute 'src' directly")
    assert [(way.torch, way.upstream, way.patched, way.compiles) for way in found.ways] == [
        ("==2.8.0", "1.3", "1.3+cu128.1", False),
        (">=2.10", "", "1.4+cu128.1", False),  # and nothing for 2.11.0 alone, which that one serves
    ]
    shown = table.explained([found])
    assert "demo: Set the source as newer Triton asks" in shown
    assert "torch >=2.10   none        demo-1.4 cu128" in shown


def test_a_release_whose_triton_does_not_bring_the_fault_out_needs_no_patch() -> None:
    (usage,) = KNOWN.usage
    older = msgspec.structs.replace(usage.release[0], triton="3.2.0")
    known = msgspec.structs.replace(
        KNOWN, usage=(msgspec.structs.replace(usage, release=(older, *usage.release[1:])),)
    )
    (found,) = explain.explain(known, [b"Cannot set attribute 'src' directly"])
    assert (found.ways[0].torch, found.ways[0].upstream) == ("==2.6.0", "1.2")


def test_a_text_across_two_blocks_is_found_by_their_overlap() -> None:
    log = b"." * 5000 + b"Cannot set attribute 'src' directly" + b"." * 5000
    cut = 5010
    assert explained(log[:cut], log[cut - explain.OVERLAP :])
    assert not explained(log[:cut])


@pytest.mark.parametrize(
    "text", [b"", b"all is well", b"\x00\xff" * 4096, b"Cannot set attribute 'x' directly"]
)
def test_other_texts_are_not_known(text: bytes) -> None:
    assert explained(text) == ()


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (
            b"RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "no code for this GPU",
        ),
        (b"the provided PTX was compiled with an unsupported toolchain.", "newer than the driver"),
        (b"ImportError: libcudart.so.13: cannot open shared object file", "made for another CUDA"),
        (b"x.so: undefined symbol: _ZN3c105ErrorC2E", "compiled against another torch"),
        (b"CUDA driver version is insufficient for CUDA runtime version", "older major release"),
    ],
)
def test_errors_of_any_gpu_code_are_explained_as_well(text: bytes, subject: str) -> None:
    (found,) = explained(text)
    assert found.project == ""
    assert subject in found.subject
