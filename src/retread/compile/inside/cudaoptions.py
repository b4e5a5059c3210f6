"""What nvcc's options become where clang compiles: the table, and the arguments of one call read by it.

Standard library only: it runs wherever the toolkit does.
"""

from __future__ import annotations

import re
import shlex
import sys

TYPE_CHECKING = False  # typing itself is not needed to run
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

# How many words an option takes besides itself.
FLAG, ONE, LIST = "flag", "one", "list"
# Where it goes.
BOTH, HOST, COMPILER, PTXAS, FATBINARY, LINK = "both", "host", "compiler", "ptxas", "fatbinary", "link"
SET, DROP, REFUSE = "set", "drop", "refuse"

_RELOCATABLE = "relocatable device code needs NVIDIA's nvlink, which no public package of this release holds"


ROWS: dict[str, tuple[str, str, str]] = {
    # What is made.
    "c compile": (FLAG, SET, "mode=object"),
    "E preprocess": (FLAG, SET, "mode=preprocessed"),
    "ptx": (FLAG, SET, "mode=ptx"),
    "cubin": (FLAG, SET, "mode=cubin"),
    "fatbin": (FLAG, SET, "mode=fatbin"),
    "shared": (FLAG, LINK, "-shared"),
    "o output-file": (ONE, SET, "output"),
    "V version": (FLAG, SET, "mode=version"),
    "dryrun": (FLAG, SET, "dryrun=yes"),
    # For which GPUs.
    "arch gpu-architecture": (ONE, SET, "arch"),
    "code gpu-code": (ONE, SET, "code"),
    "gencode generate-code": (ONE, SET, "gencode+"),
    # The preprocessor and the language; device code and host code see the same.
    "I include-path": (LIST, BOTH, "-I{}"),
    "isystem system-include": (LIST, BOTH, "-isystem{}"),
    "include pre-include": (LIST, BOTH, "-include{}"),
    "D define-macro": (ONE, BOTH, "-D{}"),
    "U undefine-macro": (ONE, BOTH, "-U{}"),
    "std": (ONE, BOTH, "-std={}"),
    "x": (ONE, SET, "language"),
    "w disable-warnings": (FLAG, BOTH, "-w"),
    "default-stream": (ONE, SET, "stream"),
    # Optimisation: -O is the host's; nvcc compiles device code with -O3 whatever it is told.
    "O optimize": (ONE, HOST, "-O{}"),
    "g debug": (FLAG, HOST, "-g"),
    "G device-debug": (FLAG, REFUSE, "device code for a debugger is not made; -lineinfo gives line numbers"),
    "use_fast_math": (FLAG, SET, "fast=yes"),
    "ftz": (ONE, SET, "ftz"),
    "prec-div": (ONE, SET, "prec-div"),
    "prec-sqrt": (ONE, SET, "prec-sqrt"),
    "fmad": (ONE, SET, "fmad"),
    "lineinfo generate-line-info": (FLAG, SET, "lineinfo=yes"),
    # For other programs.
    "Xcompiler compiler-options": (LIST, COMPILER, "{}"),
    "Xptxas ptxas-options": (LIST, PTXAS, "{}"),
    "maxrregcount": (ONE, PTXAS, "--maxrregcount={}"),
    "res-usage resource-usage": (FLAG, PTXAS, "-v"),
    "Xfatbin fatbin-options": (LIST, FATBINARY, "{}"),
    "compress-mode": (ONE, SET, "compress"),
    "no-compress": (FLAG, SET, "compress=none"),
    "Xlinker linker-options": (LIST, LINK, "-Wl,{}"),
    "L library-path": (LIST, LINK, "-L{}"),
    "l library": (LIST, LINK, "-l{}"),
    "cudart": (ONE, SET, "cudart"),
    "ccbin compiler-bindir": (ONE, SET, "host"),
    "forward-unknown-to-host-compiler": (FLAG, SET, "forward=yes"),
    # Depfiles.
    "MD generate-dependencies-with-compile": (FLAG, SET, "depend=all"),
    "MMD generate-nonsystem-dependencies-with-compile": (FLAG, SET, "depend=own"),
    "MP": (FLAG, DROP, ""),
    "MF dependency-output": (ONE, SET, "depfile"),
    "MT MQ dependency-target-name": (ONE, SET, "target"),
    # What clang does anyway: lambdas and constexpr functions serve host and device, restrict is what the source says.
    "expt-relaxed-constexpr": (FLAG, DROP, ""),
    "extended-lambda expt-extended-lambda": (FLAG, DROP, ""),
    "restrict": (FLAG, DROP, ""),
    "m64": (FLAG, DROP, ""),
    "allow-unsupported-compiler": (FLAG, DROP, ""),
    "Wno-deprecated-gpu-targets": (FLAG, DROP, ""),
    "static-global-template-stub": (ONE, DROP, ""),
    # What serves nvcc's own speed and its own names, of which there are none here.
    "t threads": (ONE, DROP, ""),
    "split-compile": (ONE, DROP, ""),
    "frandom-seed": (ONE, DROP, ""),
    "objdir-as-tempdir": (FLAG, DROP, ""),
    "keep": (FLAG, DROP, ""),
    "keep-dir": (ONE, DROP, ""),
    # Messages of NVIDIA's front end, by their numbers.
    "Xcudafe": (ONE, DROP, ""),
    "diag-suppress": (ONE, DROP, ""),
    "diag-warn": (ONE, DROP, ""),
    "display-error-number": (FLAG, DROP, ""),
    # What cannot be had.
    "rdc relocatable-device-code": (ONE, SET, "relocatable"),
    "dc device-c dw device-w dlink device-link": (FLAG, REFUSE, _RELOCATABLE),
    "dlto lto dlink-time-opt ewp extensible-whole-program": (FLAG, REFUSE, _RELOCATABLE),
}
"""An option's names -> the words it takes (``flag``, ``one``, or a ``list`` split at commas), where it goes, and as
what: a form, the setting that it is (``name=value``, ``name`` for the word given, ``name+`` for all), or why not."""
OPTIONS = {
    f"{dash}{name}": row for names, row in ROWS.items() for name in names.split() for dash in ("-", "--")
}
JOINED = ("-I", "-D", "-U", "-L", "-l", "-O", "-isystem")
"""Options whose word may follow without a space."""
SOURCES = {
    ".cu": "cuda",
    ".cuh": "cuda",
    ".c": "c",
    ".cc": "c++",
    ".cpp": "c++",
    ".cxx": "c++",
    ".c++": "c++",
    ".C": "c++",
}
LANGUAGES = {"cu": "cuda", "c++": "c++", "c": "c"}
OBJECTS = (".o", ".obj", ".a", ".so")

MATH: dict[str, dict[str, tuple[str, ...]]] = {
    "ftz": {"true": ("-fcuda-flush-denormals-to-zero",), "false": ()},
    "prec-div": {
        "true": (),
        "false": ("-mllvm=-nvptx-prec-divf32=1",),
        "approximate": ("-mllvm=-nvptx-prec-divf32=0",),
    },
    # libdevice asks what square roots are to be like, and clang 22 says approximate unless it is told otherwise.
    "prec-sqrt": {
        "true": ("-mllvm=-nvvm-reflect-add=__CUDA_PREC_SQRT=1",),
        "false": ("-mllvm=-nvptx-prec-sqrtf32=0",),
    },
    "fmad": {"true": (), "false": ("-ffp-contract=off",)},
}
"""Setting -> value -> the options of a device pass."""
EXACT = {"ftz": "false", "prec-div": "true", "prec-sqrt": "true", "fmad": "true"}
FAST = {"ftz": "true", "prec-div": "approximate", "prec-sqrt": "false", "fmad": "true"}
"""What --use_fast_math makes of the settings. Not -ffast-math: that takes it that there is no infinity."""
STREAMS: dict[str, tuple[str, ...]] = {
    "legacy": (),
    "null": (),
    "per-thread": ("-DCUDA_API_PER_THREAD_DEFAULT_STREAM=1",),
}
DEFAULT_ARCH = "sm_52"
_PREPROCESSOR = re.compile(
    r"-([DUI]|isystem|include|imacros|std=|ansi|f(file|macro|debug)-prefix-map=)(.*)", re.DOTALL
)


class Plan:
    """What the arguments ask for."""

    def __init__(self) -> None:
        self.words: dict[str, list[str]] = {
            name: [] for name in (BOTH, HOST, COMPILER, PTXAS, FATBINARY, LINK)
        }
        self.settings: dict[str, str] = {}
        self.gencode: list[str] = []
        self.sources: list[str] = []
        self.objects: list[str] = []

    @property
    def mode(self) -> str:
        """What is made: ``object``, ``ptx`` and so on; a linked file when nothing was said."""
        return self.settings.get("mode", "linked")

    @property
    def seen_by_device(self) -> list[str]:
        """The words for the host's compiler that device code is preprocessed with, too.

        The others, like ``-O2`` and ``-ffast-math``, would make other device code of clang than nvcc would.
        """
        found: list[str] = []
        words = iter(self.words[COMPILER])
        for one in words:
            if told := _PREPROCESSOR.fullmatch(one):
                found.append(one)
                if not told[3] and told[1] in {"D", "U", "I", "isystem", "include", "imacros"}:
                    found.append(next(words, ""))
        return found

    @property
    def codes(self) -> dict[str, list[str]]:
        """Virtual architecture -> the codes made of it, like ``90a`` -> ``["sm_90a", "compute_90a"]``."""
        found: dict[str, list[str]] = {}
        for virtual, codes in [_code(one) for one in self.gencode] or [self._code()]:
            for code in codes.split(","):
                if not re.fullmatch(rf"sm_\d+[af]?|compute_{virtual}", code):
                    refuse(f"code {code!r} cannot be made of compute_{virtual}")
                if code not in found.setdefault(virtual, []):
                    found[virtual].append(code)
        return found

    def _code(self) -> tuple[str, str]:
        """Return the virtual architecture of -arch, and the codes of -code: by default those that nvcc takes."""
        arch = self.settings.get("arch", DEFAULT_ARCH)
        virtual = _virtual(arch)
        codes = f"compute_{virtual}" if arch.startswith("compute") else f"{arch},compute_{virtual}"
        return virtual, self.settings.get("code", codes)


def refuse(why: str) -> NoReturn:
    """End the program and say why."""
    sys.stderr.write(f"nvcc (clang in its place): {why}\n")
    sys.exit(1)


# What the arguments say.


def expand(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments with the files of arguments that they name read in."""
    words = iter(arguments)
    for one in words:
        name, equals, value = one.partition("=")
        if name in {"-optf", "--options-file"}:
            files = (value if equals else next(words, "")).split(",")
        elif one.startswith("@"):
            files = [one[1:]]
        else:
            yield one
            continue
        for file in files:
            with open(file, encoding="utf-8") as stream:
                yield from expand(shlex.split(stream.read()))


def read(arguments: Iterable[str]) -> Plan:
    """Return what the arguments ask for; an option that is not known, or cannot be had, ends the program by name."""
    plan = Plan()
    words = iter(arguments)
    for one in words:
        name, value = _taken_apart(one)
        if name in OPTIONS:
            takes, where, form = OPTIONS[name]
            if where == REFUSE:
                refuse(f"{name}: {form}")
            if takes != FLAG and value is None:
                value = next(words, None)
                if value is None:
                    refuse(f"{name} needs a word after it")
            _put(plan, OPTIONS[name], value or "")
        elif not one.startswith("-"):
            (plan.objects if one.endswith(OBJECTS) else plan.sources).append(one)
        elif "forward" in plan.settings:
            plan.words[COMPILER].append(one)
        else:
            refuse(f"the option {one!r} is not known here; what it should become is not for guessing")
    return plan


def _taken_apart(one: str) -> tuple[str, str | None]:
    """Return an argument's option, and its word where that is in the same argument."""
    if one in OPTIONS:
        return one, None
    name, equals, value = one.partition("=")
    if equals and name in OPTIONS and OPTIONS[name][0] != FLAG:
        return name, value
    for short in JOINED:
        if one.startswith(short) and len(one) > len(short) and not one.startswith("--"):
            return short, one[len(short) :]
    return one, None


def _put(plan: Plan, row: tuple[str, str, str], value: str) -> None:
    takes, where, form = row
    if where == DROP:
        return
    if where == SET:
        key, equals, word = form.partition("=")
        if key.endswith("+"):
            plan.gencode.append(value)
        else:
            plan.settings[key] = word if equals else value
        return
    for word in _split(value) if takes == LIST else [value]:
        plan.words[where].append(form.replace("{}", word))


def _split(value: str) -> list[str]:
    r"""Return a list's words: split at commas that no backslash precedes, one pair of quotes around each removed."""
    words = [one.replace("\\,", ",") for one in re.split(r"(?<!\\),", value)]
    return [re.sub(r"^(['\"])(.*)\1$", r"\2", one) for one in words]


def _virtual(arch: str) -> str:
    found = re.fullmatch(r"(?:sm|compute)_(\d+[af]?)", arch)
    if not found:
        refuse(f"-arch={arch}: name architectures one by one, like -gencode arch=compute_90,code=sm_90")
    return found[1]


def _code(given: str) -> tuple[str, str]:
    found = re.fullmatch(r"arch=compute_(\w+),code=\[?([\w,]+)\]?", given.replace('"', "").replace("'", ""))
    if not found:
        refuse(f"-gencode {given}: is not of the form arch=compute_90,code=sm_90")
    return found[1], found[2]


def check(plan: Plan) -> None:
    """End the program for settings that have no meaning, or cannot be had."""
    settings = plan.settings
    if settings.get("relocatable", "false") != "false":
        refuse(f"-rdc={settings['relocatable']}: {_RELOCATABLE}")
    for name, values in (*MATH.items(), ("stream", STREAMS)):
        if name in settings and settings[name] not in values:
            refuse(f"-{name}={settings[name]}: is none of {', '.join(values)}")
    if settings.get("cudart") == "static" and plan.mode == "linked":
        refuse(
            "-cudart=static: no public package of this release holds libcudart_static.a; say -cudart=shared"
        )
    if not plan.sources and not (plan.objects and plan.mode == "linked"):
        refuse("no input files")
    if len(plan.sources) > 1 and plan.mode != "linked" and "output" in settings:
        refuse(f"one file cannot be the {plan.mode} of {len(plan.sources)} sources")
    real = [one for codes in plan.codes.values() for one in codes if one.startswith("sm_")]
    if (plan.mode == "ptx" and len(plan.codes) > 1) or (plan.mode == "cubin" and len(real) != 1):
        refuse(f"one {plan.mode} is for one architecture")
