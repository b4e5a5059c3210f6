"""What wheels say of their compile: by nvcc, or by clang in its place."""

from __future__ import annotations

from retread.wheel.statement import CompileStatement, DeviceTools

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
