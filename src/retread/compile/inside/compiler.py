"""Stands in for nvcc, cc and c++ while a build runs: asks the jobserver for leave, compiles through the cache, reports.

One program under three names. A command that compiles no unit (a link, ``--version``) becomes the real one at once.
The file that RETREAD_CONTROL names says which real programs stand behind the names.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TYPE_CHECKING = False  # typing itself is not needed to run
if TYPE_CHECKING:
    from typing import Any

NESTED = "RETREAD_NESTED"
"""Set for what a compiler starts itself: it has leave already, and asking again would wait for ever."""
SOURCES = (".cu", ".c", ".cc", ".cpp", ".cxx", ".c++", ".C")
DEPFILES = {
    "-MD": 0, "-MMD": 0, "-MP": 0, "-MF": 1, "-MT": 1, "-MQ": 1,
    "--generate-dependencies-with-compile": 0, "--generate-nonsystem-dependencies-with-compile": 0,
    "--dependency-output": 1, "--dependency-target-name": 1,
}  # fmt: skip
"""Options that ask for a depfile -> number of words that belong to them. It is made here, of what every pass read:
nvcc's own comes of passes made for nothing else, and may leave out system headers."""


def main() -> int:
    """Run the real compiler as the arguments say and return its exit code."""
    with open(os.environ["RETREAD_CONTROL"], encoding="utf-8") as file:
        control = json.load(file)
    tool = os.path.basename(sys.argv[0])
    real = control["tools"][tool]
    own = {os.path.join(control["bin"], name): path for name, path in control["hosts"].items()}
    given = [_of_target(own.get(one, one), control.get("replaced", {})) for one in sys.argv[1:]]
    source = next((one for one in given if one.endswith(SOURCES) and not one.startswith("-")), None)
    compiles = (
        source is not None
        and {"-c", "--compile", "-dc", "--device-c"} & set(given)
        and "--dryrun" not in given
    )
    if not compiles or NESTED in os.environ:
        os.execv(real, [real, *given])
    assert source is not None
    output = _value(given, "-o") or _value(given, "--output-file")
    output = output or os.path.splitext(os.path.basename(source))[0] + ".o"
    depfile = _value(given, "-MF") or _value(given, "--dependency-output") or f"{output}.d"
    unit = {
        "source": os.path.abspath(source),
        "output": os.path.abspath(output),
        "tool": tool,
        "folder": os.getcwd(),
        "depfile": os.path.abspath(depfile),
    }
    arguments = _arguments(tool, given, output, control)
    launcher = control["launcher"]
    if tool in control.get(
        "stepwise", ()
    ):  # the cache cannot stand before such a compiler, but before its steps
        os.environ["RETREAD_CUDA_LAUNCHER"], launcher = " ".join(map(shlex.quote, launcher)), []
    return _compile([*launcher, real, *arguments], unit, output, control)


def _of_target(word: str, replaced: dict[str, str]) -> str:
    """Return an argument with folders of this machine replaced by those of the machine that is compiled for."""
    for old, new in replaced.items():
        before, found, behind = word.partition(old)
        if found and behind[:1] in ("", "/"):
            word = before + new + behind
    return word


def _value(arguments: list[str], option: str) -> str | None:
    for index, one in enumerate(arguments):
        if one == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if one.startswith(f"{option}="):
            return one[len(option) + 1 :]
    return None


def _arguments(tool: str, given: list[str], output: str, control: dict[str, Any]) -> list[str]:
    """Return the arguments with everything that makes the object the same on every machine, without a depfile."""
    arguments: list[str] = []
    words = iter(given)
    for one in words:
        skip = DEPFILES.get(one.partition("=")[0])
        if skip is None:
            arguments.append(one)
        elif skip and "=" not in one:
            next(words, None)
    maps = [f"-ffile-prefix-map={old}={new}" for old, new in control["prefixes"].items()]
    if tool != "nvcc":
        return arguments + maps
    for one in maps:
        arguments += ["-Xcompiler", one]
    if not {"-ccbin", "--compiler-bindir"} & {one.partition("=")[0] for one in arguments}:
        arguments += ["-ccbin", control["hosts"]["g++"]]
    if control["seed"]:  # the cache runs nvcc's steps itself, always under the same names
        arguments += [f"--frandom-seed={os.path.basename(output)}", "--objdir-as-tempdir"]
    return arguments


def _compile(command: list[str], unit: dict[str, Any], output: str, control: dict[str, Any]) -> int:
    """Wait for leave, run ``command``, say how it went; a failed or interrupted one leaves no object behind."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(control["socket"])
        talk = line.makefile("rw", encoding="utf-8")
        print(json.dumps(unit), file=talk, flush=True)
        if talk.readline().strip() != "go":
            return 1
        started = time.monotonic()
        code = 1
        read = tempfile.mkdtemp(dir=os.path.dirname(control["socket"]))
        try:
            done = subprocess.run(
                command,
                env={**os.environ, NESTED: "1", "RETREAD_READ": read},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            code = done.returncode
            said = done.stdout.decode("utf-8", "replace")
            if not code:
                _write_depfile(unit["depfile"], output, read)
        except OSError as error:
            code = 1  # without its depfile, nobody would know what the object was made of
            said = f"{error.filename or unit['depfile']}: {error.strerror}\n"
        finally:
            shutil.rmtree(read, ignore_errors=True)
            if code:
                try:
                    os.unlink(unit["output"])
                except FileNotFoundError:
                    pass
        sys.stdout.write(said)
        sys.stdout.flush()
        told = {"code": code, "seconds": time.monotonic() - started, "said": said[-200_000:] if code else ""}
        print(json.dumps({**told, "command": command if code else []}), file=talk, flush=True)
        talk.readline()
    return code if code >= 0 else 128 - code


def _write_depfile(path: str, output: str, read: str) -> None:
    """Write one depfile of all that the passes left in ``read``, each as a rule for make.

    What is gone again was made for a pass alone; named here, it would make the object look old for ever.
    """
    found: set[str] = set()
    for name in os.listdir(read):
        with open(os.path.join(read, name), encoding="utf-8", errors="surrogateescape") as file:
            found.update(re.findall(r"(?:\\[^\r\n]|[^\s\\])+", file.read().partition(": ")[2]))
    there = sorted(one for one in found if os.path.exists(_plain(one)))
    target = re.sub(r"([ #])", r"\\\1", output).replace("$", "$$")
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{target}: \\\n " + " \\\n ".join(there) + "\n")


def _plain(word: str) -> str:
    """Return the name of a file as it is, of one that is written for make."""
    return re.sub(r"(\\*)\1\\([ \t])|\\([#:])", r"\1\2\3", word).replace("$$", "$")


if __name__ == "__main__":
    sys.exit(main())
