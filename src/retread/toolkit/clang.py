"""Toolkits whose CUDA compiler is clang: the programs that stand in nvcc's place, and what is tried of them.

Each check found a way in which clang compiles without a word what nvcc would compile otherwise: docs name them.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from retread import code, strict
from retread.doors import proc, store
from retread.doors.proc import Finished
from retread.elf import fatbin
from retread.errors import RecipeError, ToolError
from retread.toolkit import release

FACTS: Final = "bin/nvcc.json"
"""What the program in nvcc's place says of itself; a toolkit without it has NVIDIA's."""
NEEDED: Final = (
    "bin/ptxas", "bin/fatbinary", "include/cuda.h", "include/crt/host_defines.h", "include/curand_mtgp32_kernel.h",
    "nvvm/libdevice/libdevice.10.bc", "llvm/libexec/clang", "llvm/lib/clang", "llvm/debian/libc.so.6",
)  # fmt: skip
_CLANG: Final = """\
#!/bin/sh
# clang is built for a newer C library than this machine's may be: it runs on the one that lies beside it, and starts
# itself through this script. The compile cache knows it by this script alone; the parts that it is of: {digest}
here=${{0%/*}}/..
case ${{1-}} in
-cc1*) ;;
*)
	# A build wants to know what each pass reads, those of its compile cache too.
	[ "${{RETREAD_READ:-}}" ] && for word; do
		case $word in -E | -c) set -- -MD -MF "$RETREAD_READ/$$.d" "$@" && break ;; esac
	done
	set -- -no-canonical-prefixes "$@"
	;;
esac
for loader in "$here"/debian/ld-linux-*; do :; done
exec "$loader" --library-path "$here/debian" --argv0 "$0" "$here/libexec/clang" "$@"
"""
_NVCC: Final = "#!/usr/bin/env -S python3 -IS\n"
_MAIN: Final = "import sys\n\nfrom retread.compile.inside.nvcc import main\n\nsys.exit(main())\n"
_INSIDE: Final = "retread.compile.inside"
_KERNELS: Final = """\
struct Large { long long values[32]; };
__global__ void root(float *x) { x[0] = sqrtf(x[1]) / x[2]; }
__global__ void loop(float *x) {
  float some[4];
  for (int i = 0; i < 4; ++i) some[i] = x[i];
  for (int i = 0; i < 4; ++i) x[i] = some[3 - i];
}
__global__ void parameter(CUTLASS_GRID_CONSTANT Large const large, long long *x, int n) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&large) : "memory");
  for (int i = 0; i < n; ++i) x[i] = large.values[i];
}
"""


class Check(NamedTuple):
    """What the PTX of one kernel has to hold, and must not."""

    name: str
    fast: bool
    """Whether it is of the kernels compiled with --use_fast_math."""
    kernel: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]


CHECKS: Final = (
    Check("without fast math a square root and a quotient are rounded correctly", False, "root",
          ("sqrt.rn.f32", "div.rn.f32"), ("approx",)),
    Check("with --use_fast_math they are approximate", True, "root",
          ("sqrt.approx.ftz.f32", "div.approx.ftz.f32"), (".rn.f32",)),
    Check("device code is optimised whatever -O says", False, "loop", ("st.global",), ("__local_depot", "bra")),
    Check("a __grid_constant__ parameter stays out of local memory", False, "parameter",
          ("prefetch.tensormap",), ("__local_depot", "st.local")),
)  # fmt: skip


def stands_in(root: Path) -> bool:
    """Say whether the toolkit's nvcc is retread's own, which has clang compile."""
    return (root / FACTS).is_file()


def compiler(root: Path) -> str:
    """Return what the clang that stands in nvcc's place is called: ``Debian clang 22.1.8 (1~deb13u5)``."""
    return str(strict.decoded((root / FACTS).read_bytes(), dict[str, str])["clang"])


def programs_digest() -> str:
    """Return the digest of what the programs do that are put into a tree, whatever they say to readers."""
    told = {name: code.essence(name, text) for name, text in _modules().items()}
    return store.digest("clang in nvcc's place", code.essence("clang++", _CLANG), _NVCC, told)


def put(name: str, tree: Path, digest: str, env: Mapping[str, str]) -> str:
    """Put the programs into a tree whose parts, of this digest, are together, and return what it is called.

    RecipeError when something is missing, or when clang does not run on the C library that came with it.
    """
    missing = [one for one in NEEDED if not (tree / one).exists()]
    if missing:
        raise RecipeError(f"toolchain {name}: its parts hold no {missing[0]}", faults=missing[1:])
    script = tree / "llvm" / "bin" / "clang++"
    script.parent.mkdir()
    script.write_text(_CLANG.format(digest=digest), "utf-8")
    (tree / "bin" / "nvcc").write_bytes(_nvcc())
    for program in (script, tree / "bin" / "nvcc"):
        program.chmod(0o755)
    clang = _clang_version(name, script, env)
    cuda, packer = (release.number(tree / "bin" / one, env) for one in ("ptxas", "fatbinary"))
    facts = {"cuda": cuda, "clang": clang, "fatbinary": packer}
    (tree / FACTS).write_bytes(msgspec.json.encode(facts))
    return f"{clang}, ptxas {cuda}, fatbinary {packer}, no nvcc"


def _nvcc() -> bytes:
    """Return the program in nvcc's place: a zip archive of its modules that Python runs, the same bytes everywhere."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in _modules().items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return _NVCC.encode() + out.getvalue()


def _modules() -> dict[str, str]:
    """Return the texts of the program in nvcc's place by the names that they have in its archive."""
    folder = resources.files(_INSIDE)
    inside = _INSIDE.replace(".", "/")
    files = {
        f"{inside}/{one}.py": folder.joinpath(f"{one}.py").read_text("utf-8")
        for one in ("nvcc", "cudaoptions")
    }
    packages = ["/".join(inside.split("/")[:depth]) for depth in (1, 2, 3)]
    return {"__main__.py": _MAIN, **{f"{one}/__init__.py": "" for one in packages}, **files}


def _clang_version(name: str, script: Path, env: Mapping[str, str]) -> str:
    done = proc.run([script, "--version"], env=env, check=False)
    if done.code:
        raise RecipeError(
            f"toolchain {name}: its clang does not run: {(done.stderr or done.stdout).strip()}",
            hint="pin libc6, libstdc++6 and the other libraries of the very release of Debian that clang is from",
        )
    return done.stdout.splitlines()[0].replace(" version", "") if done.stdout else "clang"


# What is tried.


def demand(root: Path, scratch: Path, run: Callable[[Sequence[str | Path]], Finished]) -> None:
    """Compile small kernels in the folder ``scratch`` and hold the code to what nvcc would make of them.

    ``run`` runs a command to its end. ToolError names what is otherwise.
    """
    source, packed, fast = scratch / "probe.cu", scratch / "probe.fatbin", scratch / "probe.ptx"
    source.write_text(_KERNELS, "utf-8")
    nvcc: list[str | Path] = [root / "bin" / "nvcc", "-O0", source]
    codes = ["-gencode", "arch=compute_90,code=[sm_90,compute_90]"]
    for command in (
        [*nvcc, "-fatbin", *codes, "-o", packed],
        [*nvcc, "-ptx", "-arch=compute_90", "--use_fast_math", "-o", fast],
    ):
        done = run(command)
        if done.code:
            raise ToolError(f"{root / 'bin' / 'nvcc'} does not compile a small kernel: {done.stderr.strip()}")
    exact = _packed_ptx(packed)
    for check in CHECKS:
        if fault := _fault(check, fast.read_text("utf-8") if check.fast else exact):
            raise ToolError(f"clang in nvcc's place fails the check '{check.name}': {fault}")


def _packed_ptx(path: Path) -> str:
    """Return the PTX of a fat binary; ToolError when it is not packed as CUDA 12.8's own programs pack it."""
    name = "PTX is packed as CUDA 12.8 packs it"
    entries = [entry for one in fatbin.parse(path.read_bytes(), where="probe") for entry in one.entries]
    ptx = [entry for entry in entries if entry.kind is fatbin.Kind.PTX]
    if len(ptx) != 1 or not fatbin.is_lz4(ptx[0]):
        packing = ", ".join(f"flags {one.flags:#x}" for one in ptx) or "there is none"
        raise ToolError(f"clang in nvcc's place fails the check '{name}': it is not, {packing}")
    return fatbin.ptx(ptx[0]).decode("utf-8", "replace")


def _fault(check: Check, ptx: str) -> str:
    """Return what is wrong with the kernel's PTX, or nothing."""
    found = re.search(rf"\.entry \w*{check.kernel}\w*\(.*?(?=\.entry|\Z)", ptx, re.DOTALL)
    text = found[0] if found else ""
    missing = [f"no {one}" for one in check.has if one not in text]
    return ", ".join([*missing, *(f"{one} is there" for one in check.lacks if one in text)])
