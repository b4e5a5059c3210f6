"""Which of retread's own code decides the bytes of what it makes: the keys hold that part, and no other. Pure."""

from __future__ import annotations

from typing import Final

DECIDING: Final = (
    "arch.py", "code.py", "fields.py", "prooflevel.py", "pypa.py", "records.py", "strict.py", "version.py",
    "doors/fs.py", "doors/gitenv.py", "doors/machine.py", "doors/proc.py", "doors/readings.py", "doors/store.py",
    "doors/tar.py",
    "audit/", "binary/", "build/", "compile/", "elf/", "environment/", "lanes/", "lockfile/", "pe/", "recipe/",
    "source/", "toolkit/", "wheel/",
)  # fmt: skip
"""Files, and folders, which end with a slash, below retread's own. What they import decides, too, but for:"""
PROGRAMS: Final = (".py", ".sh")
"""What those are; of data that lies among them, like toolchains, each is in the keys of what uses it."""
NOT_DECIDING: Final = {
    "environment.bytecode": "it is of the sources that are in the keys, and spares Python making it each time",
    "build.reproduce": "it has a wheel made by the others, and says how far two agree",
    "compile.jobserver": "it says when a unit is compiled, not what of it comes out",
    "compile.measures": "they say when a unit is compiled",
    "compile.schedule": "it says when a unit is compiled",
    "binary.difference": "it compares libraries that are made",
    "elf.difference": "it compares libraries that are made",
    "lockfile.readers": "they read what users have installed, which is audited",
    "pe.difference": "it compares libraries that are made",
    "recipe.shared": "it says which links a series may hold; what they lead to is read as any patch is",
    "recipe.starter": "it writes repositories",
    "recipe.matrix": "it says which wheels are made, not what is in them",
    "toolkit.inquiry": "it says what is there of a toolkit; the target that is chosen by it is in the keys",
    "wheel.comparison": "it compares wheels that are made",
    "wheel.table": "it writes for people",
    "address": "it says what of an address is shown",
    "errors": "it says what went wrong",
    "limits": "they say what is refused, not what becomes of what is taken",
    "units": "it writes numbers for people",
    "variables": "it says what variables are for, and which of them brought what is refused",
    "doors.clock": "it says what is too old",
    "doors.console": "it talks",
    "doors.objects": "what it carries, compile caches keep under keys of their own",
    "doors.cores": "it says what is done at once",
    "doors.extras": "it says how what is missing is installed",
    "doors.walls": "they hide what no wheel is to be made of",
    "doors.warden": "it ends what runs when nobody waits for it any more",
    "doors.net": "what it brings is held to a sha256 that the recipe, toolchain or lock pins",
    "evidence.names": "they are of files beside a wheel",
    "smoke.kit": "it tries a wheel that is made, and changes none",
}
"""Modules that lie in deciding folders, or that deciding modules import -> why they decide nothing all the same."""


def decides(path: str) -> bool:
    """Say whether a file below retread's own folder (``wheel/metadata.py``) is part of the keys."""
    listed = any(path.startswith(one) if one.endswith("/") else path == one for one in DECIDING)
    return listed and is_deciding_program(path)


def is_deciding_program(path: str) -> bool:
    """Say whether a file that is listed, or in a folder that is, is part of the keys."""
    return path.endswith(PROGRAMS) and path.removesuffix(".py").replace("/", ".") not in NOT_DECIDING


COMPILING: Final = (
    "compile/inside/compiler.py", "compile/inside/host.sh", "compile/inside/trace.py",
    "compile/room.py", "compile/sandbox.py", "compile/stage.py",
    "environment/venv.py", "recipe/native.py",
)  # fmt: skip
"""Files that decide what comes out of a compile, wherever it runs; what a place adds is in its ``programs``."""
NOT_COMPILING: Final = {
    "arch": "it spells the architectures of a trial before the compile",
    "compile.cross": "it is of the place that compiles for another machine, whose programs name it",
    "compile.depot": "it carries what compile caches keep, under keys of their own",
    "compile.jobserver": NOT_DECIDING["compile.jobserver"],
    "compile.schedule": NOT_DECIDING["compile.schedule"],
    "doors.extras": NOT_DECIDING["doors.extras"],
    "doors.machine": "what it brings is held to a sha256 that the lock pins",
    "doors.net": NOT_DECIDING["doors.net"],
    "doors.store": "it keeps what it is given",
    "doors.fs": "it copies, removes and digests files",
    "doors.walls": NOT_DECIDING["doors.walls"],
    "doors.proc": "it starts what it is told, with the variables that it is told",
    "environment.host": "the tools that it finds are in the setting by their digests",
    "errors": NOT_DECIDING["errors"],
    "pypa": "the ranges that it reads choose an interpreter, which is in the setting",
    "recipe.model": "what a recipe says is in the setting, field by field",
    "recipe.proof": "the ids that it gives to files are in the key",
    "recipe.series": "what a series makes of the tree is in the key, file by file",
    "records": "it says what a record is; those that decide are in the setting",
    "strict": "it reads what a compile left behind",
    "toolkit.clang": "its programs are in the toolkit's digest; the rest refuses a toolkit, or takes it as it is",
    "units": "it writes numbers for people",
}
"""Modules that those import -> why they change nothing of what is compiled."""


def essence(name: str, text: str) -> str:
    """Return what a program does, without how it is laid out and what it says to readers.

    Of Python that is its syntax tree without docstrings, written the same by every Python that can read it; of a shell
    script it is the lines that are neither empty nor a comment.
    """
    if name.endswith(".py"):
        import ast

        return _tree(ast.parse(text))
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def _tree(node: object) -> str:
    """Return a node of a syntax tree as text. Fields that are empty are left out: newer Pythons have more of them."""
    import ast

    if isinstance(node, list):
        return f"[{','.join(_tree(one) for one in node if not _is_docstring(one))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    said = (f"{name}={_tree(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({','.join(said)})"


def _is_docstring(node: object) -> bool:
    import ast

    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
