"""Make the fixtures of this directory: cubins whose kernels hold the instructions that tell how code uses its GPU.

usage: make.py PTXAS

PTXAS is ptxas of CUDA 12.8 (PyPI: nvidia-cuda-nvcc-cu12==12.8.93). No kernel is ever run. The fixtures are committed,
so tests need none of this; scripts/bench/opcodes.py holds the counts against NVIDIA's disassembler.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

HEAD = ".version 8.7\n.target sm_{arch}\n.address_size 64\n"
REGISTERS = """
  .reg .b64 %rd<40>;
  .reg .f32 %f<40>;
  .reg .b32 %r<40>;
  .reg .pred %p<4>;
  ld.param.u64 %rd0, [out];
  cvta.to.global.u64 %rd1, %rd0;
  mov.u32 %r0, %tid.x;
"""
LOCAL = """
  .local .align 16 .b8 depot[64];
  ld.global.v4.u32 {%r30, %r31, %r32, %r33}, [%rd1];
  and.b32 %r34, %r0, 12;
  cvt.u64.u32 %rd30, %r34;
  mov.u64 %rd31, depot;
  add.u64 %rd30, %rd31, %rd30;
  st.local.v4.u32 [depot], {%r30, %r31, %r32, %r33};
  st.local.v4.u32 [depot+16], {%r31, %r30, %r32, %r33};
  ld.local.u32 %r35, [%rd30];
  st.global.u32 [%rd1+64], %r35;
"""
"""An array of a thread's own that is read at a place known at run time alone: it cannot be in registers."""
SHARED = "  .shared .align 128 .b8 tile[1024];\n  mov.u32 %r1, tile;\n"
AMPERE = """
  cp.async.ca.shared.global [%r1], [%rd1], 16;
  cp.async.wait_all;
  bar.sync 0;
  ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2, %r3, %r4, %r5}, [%r1];
  mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r2, %r3, %r4, %r5}, {%r2, %r3},
    {%f0, %f1, %f2, %f3};
  mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r6, %r7, %r8, %r9}, {%r2, %r3, %r4, %r5}, {%r2, %r3},
    {%r6, %r7, %r8, %r9};
  st.global.v4.f32 [%rd1], {%f0, %f1, %f2, %f3};
  st.global.v4.u32 [%rd1+16], {%r6, %r7, %r8, %r9};
"""
HOPPER = """
  ld.global.v2.u64 {%rd4, %rd5}, [%rd1];
  mbarrier.init.shared.b64 [%r1], 1;
  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1+128], [%rd0, {%r0, %r0}], [%r1];
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %rd4, %rd5, 1, 1, 1, 0, 0;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
  mov.b32 %r2, %f0;
  stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r1+256], {%r2, %r2, %r2, %r2};
  cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd0, {%r0, %r0}], [%r1+256];
  cp.async.bulk.commit_group;
  cp.async.bulk.wait_group 0;
  st.global.v4.f32 [%rd1], {%f0, %f1, %f2, %f3};
"""
QUARTER = """
  ld.global.v2.u64 {%rd4, %rd5}, [%rd1];
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {%f0, %f1, %f2, %f3}, %rd4, %rd5, 1, 1, 1;
  wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 {%r6, %r7, %r8, %r9}, %rd4, %rd5, 1;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
  st.global.v4.f32 [%rd1], {%f0, %f1, %f2, %f3};
  st.global.v4.u32 [%rd1+16], {%r6, %r7, %r8, %r9};
"""
BLACKWELL = """
  ld.global.v2.u64 {%rd4, %rd5}, [%rd1];
  tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r1], 32;
  ld.shared.u32 %r2, [%r1];
  setp.ne.u32 %p0, %r0, 0;
  tcgen05.mma.cta_group::1.kind::f16 [%r2], %rd4, %rd5, %r0, %p0;
  tcgen05.mma.cta_group::1.kind::f8f6f4 [%r2], %rd4, %rd5, %r0, %p0;
  tcgen05.mma.cta_group::1.kind::i8 [%r2], %rd4, %rd5, %r0, %p0;
  tcgen05.mma.cta_group::1.kind::mxf4.block_scale.scale_vec::2X [%r2], %rd4, %rd5, %r0, [%r2], [%r2], %p0;
  tcgen05.cp.cta_group::1.128x256b [%r2], %rd4;
  tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r3}, [%r2];
  tcgen05.st.sync.aligned.32x32b.x1.b32 [%r2], {%r3};
  tcgen05.wait::ld.sync.aligned;
  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1+128], [%rd0], 16, [%r1];
  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1+128], [%rd0, {%r0, %r0}], [%r1];
  tcgen05.dealloc.cta_group::1.sync.aligned.b32 %r2, 32;
  st.global.u32 [%rd1], %r3;
"""
GEFORCE = """
  ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1];
  mov.b16 %h0, 0;
  mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0
    {%f0, %f1, %f2, %f3}, {%r2, %r3, %r4, %r5}, {%r2, %r3}, {%f0, %f1, %f2, %f3}, {%r2}, {%h0, %h0}, {%r3}, {%h0, %h0};
  mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32 {%f4, %f5, %f6, %f7}, {%r2, %r3, %r4, %r5},
    {%r2, %r3}, {%f4, %f5, %f6, %f7};
  st.global.v4.f32 [%rd1], {%f0, %f1, %f2, %f3};
  st.global.v4.f32 [%rd1+16], {%f4, %f5, %f6, %f7};
"""
TWO_BYTES = "  .reg .b16 %h<4>;\n"
KERNELS = {
    "80": {"plain": "", "local": LOCAL, "matrix": SHARED + AMPERE},
    "90a": {"tensor": SHARED + HOPPER, "spills": SHARED + LOCAL + HOPPER, "quarter": QUARTER},
    "100a": {"tensor": SHARED + BLACKWELL},
    "120a": {"matrix": TWO_BYTES + GEFORCE, "local": LOCAL},
}


def ptx(arch: str) -> str:
    """Return the PTX of an architecture's kernels."""
    text = HEAD.format(arch=arch)
    for name, body in KERNELS[arch].items():
        text += f".visible .entry {name}(.param .u64 out)\n{{{REGISTERS}{body}  ret;\n}}\n"
    return text


def main() -> None:
    """Make every fixture."""
    for arch in KERNELS:
        source = HERE / f"kernels.{arch}.ptx"
        source.write_text(ptx(arch))
        line = [sys.argv[1], f"-arch=sm_{arch}", source.name, "-o", f"kernels.sm_{arch}.cubin"]
        subprocess.run(line, cwd=HERE, check=True)
        source.unlink()


if __name__ == "__main__":
    main()
