"""What a small wheel says of itself, and of its compile: by nvcc, or by clang in its place."""

from __future__ import annotations

from retread.arch import Arch
from retread.records import Sha256
from retread.wheel.statement import CompileStatement, DeviceTools, FileStatement, Promise, Statement

STATEMENT = Statement(
    schema=1, tool="retread 0.1.0", recipe="demo-1.2", target="cu128", project="demo", version="1.2+cu128.1",
    lane="overlay", repository="https://example.org/demo", commit=40 * "1", submodules=(), commit_time=7,
    sdist=FileStatement(file="demo-1.2.tar.gz", sha256=Sha256(64 * "3")), base=None, compiled=None, series=(),
    toolchain=None, libraries={},
    promise=Promise(
        project="demo", version="1.2+cu128.1", cuda="12.8", torch=">=2.9", architectures=(Arch("8.0"),), ptx=(),
        exempt=(), requires=(), run_path={}, note="",
    ),
)  # fmt: skip

NVCC = DeviceTools(
    compiler="nvcc 12.8.93", assembler="ptxas 12.8.93", headers="CUDA 12.8", container="fatbinary 12.8.90"
)
CLANG = DeviceTools(
    compiler="Debian clang 22.1.8 (1~deb13u5)",
    assembler="ptxas 12.8.93",
    headers="CUDA 12.8",
    container="fatbinary 13.0.88",
)


def compiled(
    device: DeviceTools | None = NVCC, *, toolkit: str = "", host: str = "g++ 12.2.0"
) -> CompileStatement:
    """Return what a compiled wheel says of its compile; without ``device`` as wheels did that did not say it yet."""
    return CompileStatement(
        native_digest="n",
        toolkit=toolkit or (device.compiler if device else "nvcc 12.8, V12.8.93"),
        toolkit_digest="t",
        toolkit_origin="pinned parts",
        compiler=host,
        python="3.12.1",
        lock="l",
        requires=(),
        environment={},
        toolchain="cuda-12.8",
        device=device,
    )
