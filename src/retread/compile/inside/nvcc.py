"""Stands in nvcc's place in a toolkit whose CUDA compiler is clang: nvcc's options in, clang, ptxas, fatbinary called.

A unit is compiled in steps that are run one by one, not by clang's own driver: PTX for every virtual architecture,
machine code of it by ptxas, the fat binary, and the host's code around it. So each step notes what it read (clang's
driver lets the passes overwrite each other's depfile), and the compile cache can stand before the steps that give PTX
(before the whole it gives wrong hits, since it preprocesses one pass alone). Standard library only: the toolkit's
program is a zip archive of this module and ``cudaoptions``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

from retread.compile.inside import cudaoptions as options
from retread.compile.inside.cudaoptions import Plan, refuse

LAUNCHER = "RETREAD_CUDA_LAUNCHER"
"""What stands before the steps that a compile cache can know: its program."""

ALWAYS = (
    # nvcc unrolls what the source asks for; clang gives up earlier.
    "-mllvm", "-pragma-unroll-threshold=100000", "-mllvm", "-unroll-threshold=5000",
    # CUTLASS turns it off under clang, and kernels' parameters, TMA descriptors among them, are copied to local memory.
    "-DCUTLASS_GRID_CONSTANT=__grid_constant__",
    # The CUDA headers are 12.8's, which clang says it half knows; torch's headers have an old form of literals.
    "-Wno-unknown-cuda-version", "-Wno-deprecated-literal-operator", "-Wno-unused-command-line-argument",
    # No settings of the machine's.
    "--no-default-config",
)  # fmt: skip
DEVICE = (
    # nvcc unrolls a loop of which it knows a bound alone, as PyTorch's over a tensor's dimensions (at most 25), and
    # inlines what is in it. Otherwise clang keeps a kernel's parameters in local memory, to index them: 1264 bytes of
    # stack a thread of a SwiGLU, none with these (of 8, 16, 32 and of 225, 1000, 5000 the first that give none).
    "-mllvm", "-unroll-max-upperbound=32", "-mllvm", "-inline-threshold=5000",
)  # fmt: skip
"""What device code is compiled with, whatever is asked for."""
SUFFIXES = {"object": ".o", "ptx": ".ptx", "cubin": ".cubin", "fatbin": ".fatbin"}


def main() -> int:
    """Do what the arguments ask for and return the exit code."""
    home = os.path.dirname(os.path.dirname(os.path.realpath(sys.argv[0])))
    with open(os.path.join(home, "bin", "nvcc.json"), encoding="utf-8") as stream:
        facts = json.load(stream)
    plan = options.read(options.expand(sys.argv[1:]))
    if plan.mode == "version":
        print(version(facts))
        return 0
    options.check(plan)
    with tempfile.TemporaryDirectory(prefix="nvcc-") as scratch:
        Work(plan, home, facts["cuda"], scratch).run()
    return 0


def version(facts: dict[str, str]) -> str:
    """Return what ``--version`` says: whom it calls, and the line that others look for."""
    release = ".".join(facts["cuda"].split(".")[:2])
    return (
        f"nvcc: {facts['clang']} stands in its place; no NVIDIA compiler runs\n"
        f"ptxas {facts['cuda']} assembles, fatbinary {facts['fatbinary']} packs\n"
        f"Cuda compilation tools, release {release}, V{facts['cuda']}"
    )


# What is run.


class Work:
    """The steps of one call."""

    def __init__(self, plan: Plan, home: str, cuda: str, scratch: str) -> None:
        self.plan = plan
        self.home = home
        self.cuda = cuda
        self.scratch = scratch
        self.dry = "dryrun" in plan.settings
        self.host = plan.settings.get("host") or "g++"
        if os.path.isdir(self.host):
            self.host = os.path.join(self.host, "g++")
        self.depfiles: list[str] = []

    def run(self) -> None:
        """Make what is asked for; a step that fails ends the program with its exit code."""
        plan = self.plan
        objects = list(plan.objects)
        for number, source in enumerate(plan.sources):
            output = self._output(source, number)
            if self._language(source) != "cuda":
                self._host_unit(source, output)
            elif plan.mode == "preprocessed":
                self._clang(["--cuda-host-only", "-E"], source, output, self._host_words())
            else:
                self._unit(source, output)
            objects.append(output)
        if plan.mode == "linked":
            self._link(objects)
        if self.depfiles and not self.dry:
            self._write_depfile()

    def _output(self, source: str, number: int) -> str:
        mode = self.plan.mode
        if mode == "linked":
            return os.path.join(self.scratch, f"{number}.o")
        stem = os.path.splitext(os.path.basename(source))[0]
        return self.plan.settings.get("output") or ("-" if mode == "preprocessed" else stem + SUFFIXES[mode])

    def _language(self, source: str) -> str:
        given = self.plan.settings.get("language")
        if given is not None and given not in options.LANGUAGES:
            refuse(f"-x {given}: no such language")
        if given is None and os.path.splitext(source)[1] not in options.SOURCES:
            refuse(f"{source}: no source by its name; say -x cu")
        return options.SOURCES[os.path.splitext(source)[1]] if given is None else options.LANGUAGES[given]

    def _unit(self, source: str, output: str) -> None:
        """Make PTX, machine code, the fat binary and the object of one source, as far as is asked for."""
        mode, images = self.plan.mode, []
        for virtual, codes in self.plan.codes.items():
            ptx = output if mode == "ptx" else os.path.join(self.scratch, f"{virtual}.ptx")
            words = [f"--offload-arch=sm_{virtual}", *self._device_words()]
            self._clang(["--cuda-device-only", "-S", "-c"], source, ptx, words, cached=True)
            images += [self._image(virtual, code, ptx, output) for code in codes if mode != "ptx"]
        if mode in {"ptx", "cubin"}:
            return
        fat = output if mode == "fatbin" else os.path.join(self.scratch, "unit.fatbin")
        # LZ4, as 12.8's own fatbinary packs; a later one's default is zstd, which older drivers cannot read.
        packing = ["-64", "--create", fat, f"--compress-mode={self.plan.settings.get('compress', 'speed')}"]
        given = self.plan.words
        # What ptxas was told goes with the PTX, for whoever assembles that: a driver, or an overlay.
        packing += [f"--cmdline={' '.join(given[options.PTXAS])}"] if given[options.PTXAS] else []
        self._run([self._tool("fatbinary"), *packing, *given[options.FATBINARY], *images])
        if mode != "fatbin":
            inside = ["-Xclang", "-fcuda-include-gpubinary", "-Xclang", fat]
            self._clang(["--cuda-host-only", "-c"], source, output, [*inside, *self._host_words()])

    def _image(self, virtual: str, code: str, ptx: str, output: str) -> str:
        """Make one code of the PTX and return how fatbinary is told of it."""
        kind, _, name = code.partition("_")
        if kind == "compute":
            return f"--image3=kind=ptx,sm={name},file={ptx}"
        cubin = os.path.join(self.scratch, f"{virtual}-{name}.cubin")
        file = output if self.plan.mode == "cubin" else cubin
        self._run([self._tool("ptxas"), *self._ptxas_words(), f"--gpu-name={code}", ptx, "-o", file])
        return f"--image3=kind=elf,sm={name},file={file}"

    def _tool(self, name: str) -> str:
        return os.path.join(self.home, "bin", name)

    def _host_unit(self, source: str, output: str) -> None:
        """Compile a source without device code as nvcc does: by the host's compiler."""
        how = "-E" if self.plan.mode == "preprocessed" else "-c"
        given = self.plan.words
        words = [*given[options.BOTH], *given[options.HOST], *given[options.COMPILER], *self._noting()]
        include = ["-isystem", os.path.join(self.home, "include")]
        self._run([self.host, how, *words, *include, source, "-o", output])

    def _clang(
        self, what: list[str], source: str, output: str, words: list[str], *, cached: bool = False
    ) -> None:
        launcher = shlex.split(os.environ.get(LAUNCHER, "")) if cached else []
        clang = os.path.join(self.home, "llvm", "bin", "clang++")
        versions = zip(("MAJOR", "MINOR", "BUILD"), self.cuda.split("."))  # noqa: B905 - Python 3.9 runs this, too
        command = [
            *launcher, clang, *what, "-x", "cuda", f"--cuda-path={self.home}", *self._headers(), *ALWAYS,
            *(f"-D__CUDACC_VER_{name}__={number}" for name, number in versions),
            *self._arch_list(),
            *options.STREAMS[self.plan.settings.get("stream", "legacy")],
            *words, *self.plan.words[options.BOTH], f"-fcrash-diagnostics-dir={self._crash(source)}",
            *self._noting(), source, "-o", output,
        ]  # fmt: skip
        self._run(command, source, self._crash(source))

    def _crash(self, source: str) -> str:
        """Return the folder, beside what is made, for what clang leaves when it crashes."""
        stem = os.path.splitext(os.path.basename(source))[0]
        return self.plan.settings.get("output", stem) + ".crash"

    def _headers(self) -> list[str]:
        """Return the options that make clang take the headers of the host compiler that was named, and no other's."""
        folder = os.path.dirname(self._ask("-print-libgcc-file-name"))
        root = self._ask("-print-sysroot")
        return [f"--gcc-install-dir={folder}", *([f"--sysroot={root}"] if root.strip("/") else [])]

    def _ask(self, option: str) -> str:
        try:
            done = subprocess.run(
                [self.host, option], stdout=subprocess.PIPE, check=True, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.CalledProcessError) as error:
            refuse(f"the host compiler {self.host} does not answer {option}: {error}")
        return done.stdout.decode().strip()

    def _arch_list(self) -> list[str]:
        """Return what defines nvcc's list of architectures, which names of CUB and Thrust hold, for every pass alike.

        clang's own is that of one pass. The compile cache counts -D, but for the preprocessor alone it counts what
        comes of it: another architecture is no reason to compile for all the others again.
        """
        numbers = sorted({int(re.sub(r"\D", "", one)) * 10 for one in self.plan.codes})
        words = ("-U__CUDA_ARCH_LIST__", f"-D__CUDA_ARCH_LIST__={','.join(map(str, numbers))}")
        return [one for word in words for one in ("-Xpreprocessor", word)]

    def _device_words(self) -> list[str]:
        settings = self.plan.settings
        words = ["-fcuda-approx-transcendentals"] if "fast" in settings else []
        for name, value in (options.FAST if "fast" in settings else options.EXACT).items():
            words += options.MATH[name][settings.get(name, value)]
        if "lineinfo" in settings:
            words.append("-gline-directives-only")
        return [*words, *DEVICE, "-O3", *self.plan.seen_by_device]

    def _host_words(self) -> list[str]:
        return ["-O3", *self.plan.words[options.HOST], *self.plan.words[options.COMPILER]]

    def _ptxas_words(self) -> list[str]:
        given = self.plan.words[options.PTXAS]
        level = [] if any(one.startswith(("-O", "--opt-level")) for one in given) else ["-O3"]
        return ["-m64", *level, *(["-lineinfo"] if "lineinfo" in self.plan.settings else []), *given]

    def _noting(self) -> list[str]:
        """Return the options that note what a pass reads, if a depfile was asked for."""
        if "depend" not in self.plan.settings:
            return []
        file = os.path.join(self.scratch, f"{len(self.depfiles)}.d")
        self.depfiles.append(file)
        return ["-MD" if self.plan.settings["depend"] == "all" else "-MMD", "-MF", file]

    def _link(self, objects: list[str]) -> None:
        words = [] if self.plan.settings.get("cudart") == "none" else ["-lcudart"]
        output = self.plan.settings.get("output", "a.out")
        library = os.path.join(self.home, "lib")
        self._run([self.host, *objects, *self.plan.words[options.LINK], f"-L{library}", *words, "-o", output])

    def _run(self, command: list[str], source: str = "", crash: str = "") -> None:
        if self.dry:
            sys.stderr.write(" ".join(map(shlex.quote, command)) + "\n")
            return
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, errors="replace", check=False
        )
        said = process.stderr
        sys.stderr.write((explain(said) if source and process.returncode else "") + said)
        if crash and os.path.isdir(crash):
            sys.stderr.write(
                f"nvcc (clang in its place): clang crashed; {crash} holds what it takes to see it again\n"
            )
        if process.returncode:
            sys.exit(process.returncode if process.returncode > 0 else 128 - process.returncode)

    def _write_depfile(self) -> None:
        """Write one depfile of all passes where it was asked for."""
        settings = self.plan.settings
        output = settings.get("output", "a.out")
        path = settings.get("depfile") or os.path.splitext(output)[0] + ".d"
        found: dict[str, None] = {}
        for file in self.depfiles:
            with open(file, encoding="utf-8", errors="surrogateescape") as stream:
                words = re.findall(r"(?:\\[^\r\n]|[^\s\\])+", stream.read().partition(": ")[2])
            found.update(dict.fromkeys(words))
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write(f"{settings.get('target', output)}: \\\n " + " \\\n ".join(found) + "\n")


# What is not nvcc's only code.

_PLACE = re.compile(r"^(.+?):(\d+):\d+: (?:fatal )?error: (.*)", re.MULTILINE)
_CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")
_MACROS = re.compile(
    r"\b(__NVCC__|__CUDACC_EXTENDED_LAMBDA__|__CUDACC_RELAXED_CONSTEXPR__|__clang__|__NV_\w+)\b"
)


def explain(said: str) -> str:
    """Return clang's first error with the macro that it depends on, where that is one that tells nvcc from clang.

    That is read off the conditions around the line; nothing when they name no such macro.
    """
    place = _PLACE.search(said)
    if not place:
        return ""
    try:
        with open(place[1], encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()[: int(place[2])]
    except OSError:
        return ""
    for number, text in [*((len(lines), one) for one in lines[-1:]), *reversed(_around(lines))]:
        macro = _MACROS.search(text)
        if macro:
            return (
                f"{place[1]}:{place[2]}: error: {place[3]} (depends on {macro[1]}: {text.strip()!r} in line {number}; "
                "clang, which compiles here, defines __clang__ and none of nvcc's own macros)\n"
            )
    return ""


def _around(lines: list[str]) -> list[tuple[int, str]]:
    """Return the conditions of the preprocessor that are open after the last line, with their lines' numbers."""
    found: list[list[tuple[int, str]]] = []
    for number, line in enumerate(lines, 1):
        told = _CONDITION.match(line)
        if not told:
            continue
        if told[1].startswith("if"):
            found.append([(number, line)])
        elif told[1] == "endif":
            del found[-1:]
        elif found:
            found[-1].append((number, line))
    return [one for group in found for one in group]


if __name__ == "__main__":
    sys.exit(main())
