"""Jobs as array scripts for Slurm: what is alike is one array, trials follow the builds of the same number. Pure.

Slurm's own words stand here and nowhere else. Whatever is not a number is quoted for the shell that reads it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from retread.arch import Arch
from retread.errors import UsageError
from retread.jobs.job import MORE, Job, Kind
from retread.recipe import platforms

SUBMIT: Final = "submit.sh"
JOBS: Final = "jobs.json"
_GRES: Final = re.compile(r"gpu(:[A-Za-z0-9_.-]{1,64})?(:[0-9]{1,3})?")
_OPTION: Final = re.compile(r"-[a-zA-Z][ -~]*|--[a-z][ -~]+")
_SAID: Final = re.compile(r"^#SBATCH --([a-z-]+)", re.MULTILINE)
_SUBMITTED: Final = ("parsable", "kill-on-invalid-dep", "output", "dependency")
"""What ``submit.sh`` says of every array."""
_NEEDS: Final = ("cpus-per-task", "mem", "mem-per-cpu", "mem-per-gpu", "time")
"""What the jobs of an array need: it differs from one to the next, and one number for all would starve or waste."""
_OTHERWISE: Final = ("chdir", "help", "test-only", "usage", "version", "wait", "wrap")
"""With which sbatch would do something else than the scripts are for."""
_LETTERS: Final = {
    "a": "array", "c": "cpus-per-task", "C": "constraint", "d": "dependency", "D": "chdir", "h": "help",
    "J": "job-name", "o": "output", "t": "time", "u": "usage", "V": "version", "W": "wait",
}  # fmt: skip
_FLAGS: Final = "HIOQksv"
"""Letters of sbatch's that take no value, so that another may stand behind them in one word."""
_ARRAY: Final = 1000
"""Jobs of one array: Slurm takes numbers up to 1,000 unless MaxArraySize says otherwise."""
_MIB: Final = 1 << 20
_OWN: Final = 256
"""MiB for retread itself and the shell, beside what the job is held to: they take 40 MB."""
_MEMORY: Final = tuple(base << power for power in range(10, 21) for base in (1, 3))
"""MiB that are asked for, so that jobs which differ a little are one array: 1 GiB, 2, 3, 4, 6, 8, 12 and so on."""
_MINUTES: Final = (10, 20, 30, 60, 120, 240, 480, 720, 1440, 2880, 10080)
"""The same of time."""
_MARGIN: Final = 1.25
"""How much more time than its forecast a job has before Slurm ends it: other nodes may be slower. Not measured."""
_ARRAY_SCRIPT: Final = """\
#!/bin/bash
# Written by 'retread jobs --slurm'; {submit} submits it, with what it comes after.
#SBATCH --job-name={name}
#SBATCH --array={numbers}
#SBATCH --cpus-per-task={cores}
#SBATCH --mem={memory}M
#SBATCH --time={minutes}
{special}#SBATCH --requeue
#SBATCH --open-mode=append
keys=(
{keys}
)
exec {command} run-job "${{keys[$SLURM_ARRAY_TASK_ID]}}" {arguments} "$@"
"""
_REPORT_SCRIPT: Final = """\
#!/bin/bash
# Written by 'retread jobs --slurm': what became of every job; it fails where one is not done.
#SBATCH --job-name={name}
#SBATCH --cpus-per-task=1
#SBATCH --mem={own}M
#SBATCH --time=10
exec {command} jobs {arguments}
"""
_SUBMIT_SCRIPT: Final = """\
#!/bin/bash
# Written by 'retread jobs --slurm': submits every array, and prints the numbers that Slurm gives them.
# It may be run again: what is done is taken as it is.
set -Eeuo pipefail
command -v sbatch > /dev/null || {{ echo "submit: there is no sbatch here; run this on a login node" >&2; exit 1; }}
cd {folder}
mkdir -p logs {out}
ids=()
refused() {{
    [ "${{#ids[@]}}" = 0 ] || scancel "${{ids[@]}}"
    echo "submit: Slurm refused an array; what was submitted is cancelled" >&2
}}
trap refused ERR
submit() {{ # OPTION... SCRIPT [ARGUMENT...]: sets id
    local said
    said=$(sbatch --parsable --kill-on-invalid-dep=yes --output=logs/%x-%A_%a.log {options}"$@") || return 1
    id=${{said%%;*}}
    ids+=("$id")
}}
array() {{ # NAME MIB MINUTES [OPTION...]: sets after, with what comes after it
    local name=$1 memory=$2 minutes=$3
    shift 3
    submit "$@" "$name.sh"
    after=aftercorr:$id
    # Once more with more, where a job was killed for memory or ended without a word; the others end at once.
    if submit --mem="${{memory}}M" --time="$minutes" --dependency=afterany:"$id" "$name.sh" --retry; then
        after+="?aftercorr:$id"
    else
        echo "submit: no second try of $name: no node has $memory MiB" >&2
    fi
}}

{arrays}

submit --dependency="$(IFS=:; echo "afterany:${{ids[*]}}")" --output=logs/%x-%j.log report.sh
trap - ERR
printf '%s\\n' "${{ids[@]}}" > ids
echo "submitted: ${{ids[*]}}; to cancel all: scancel ${{ids[*]}}"
"""


class Cluster(NamedTuple):
    """What a cluster calls its things, and where everybody on it finds ours."""

    folder: Path
    """Of the scripts."""
    out: Path
    """Of the results."""
    root: Path
    """The workspace."""
    command: tuple[str, ...]
    """That runs retread on a node."""
    gres: Mapping[Arch, str]
    """Capability -> generic resource: ``gpu:h100``."""
    options: tuple[str, ...] = ()
    """For every sbatch: ``--partition=build``."""


class _Request(NamedTuple):
    """What one array asks for."""

    kind: Kind
    cores: int
    memory: int
    """MiB, without retread's own."""
    minutes: int
    gpu: Arch | None
    processor: str


class _Array(NamedTuple):
    name: str
    request: _Request
    jobs: Mapping[int, Job]
    """Number in the array -> job."""
    after: str
    """The array whose job of the same number comes before; empty for none."""


def parse_gres(words: Sequence[str], known: Sequence[Arch]) -> dict[Arch, str]:
    """Return capability -> resource of ``9.0=gpu:h100``; UsageError for what is none."""
    found: dict[Arch, str] = {}
    for word in words:
        gpu, equals, resource = word.partition("=")
        if not equals or not _GRES.fullmatch(resource):
            raise UsageError(f"--gres: {word!r} is not like 9.0=gpu:h100 or 9.0=gpu:h100:1")
        if Arch(gpu) not in known:
            raise UsageError(
                f"--gres: no job wants a GPU {gpu!r}", hint=f"they want {', '.join(known) or 'none'}"
            )
        if Arch(gpu) in found:
            raise UsageError(f"--gres: {gpu} is there twice")
        found[Arch(gpu)] = resource
    return found


def parse_options(words: Sequence[str], scripts: Mapping[str, str]) -> tuple[str, ...]:
    """Return options for every sbatch; UsageError for what is none, or what the ``scripts`` say themselves.

    sbatch would take what is typed in the place of what a script says, and of every script the same.
    """
    said = {name for text in scripts.values() for name in _SAID.findall(text)}
    for word in words:
        if not _OPTION.fullmatch(word):
            raise UsageError(f"--sbatch: {word!r} is no option like --partition=build")
        _demand_free(word, said)
    return tuple(words)


def _demand_free(word: str, said: Collection[str]) -> None:
    """Raise UsageError for an option of sbatch's that the scripts say, spelled out or cut short as sbatch takes it."""
    letter = _LETTERS.get(word[1:].lstrip(_FLAGS)[:1], "")
    typed = word.removeprefix("--").partition("=")[0] if word.startswith("--") else letter
    taken = sorted({*said, *_SUBMITTED, *_NEEDS, *_OTHERWISE})
    name = next((one for one in taken if typed and one.startswith(typed)), "")
    if not name:
        return
    if name in _NEEDS:
        hint = "write the jobs down (retread jobs --json > FILE), edit what they need, and take --jobs FILE"
        raise UsageError(f"--sbatch: {word!r} is what each array says by what its jobs need", hint=hint)
    hint = "say what has such a GPU: --gres 9.0=gpu:h100" if name == "gres" else ""
    raise UsageError(f"--sbatch: {word!r} is what the scripts themselves say", hint=hint)


def capabilities(jobs: Sequence[Job]) -> list[Arch]:
    """Return the capabilities of the GPUs that jobs want."""
    return list(dict.fromkeys(one.needs.gpu for one in jobs if one.needs.gpu))


def scripts(jobs: Sequence[Job], cluster: Cluster) -> dict[str, str]:
    """Return file name -> script: an array for what is alike, a report of all, and what submits them in order."""
    arrays = list(_arrays(jobs))
    found = {f"{one.name}.sh": _script(one, cluster) for one in arrays}
    where = ("--jobs", str(cluster.folder / JOBS), "--results", str(cluster.out))
    found["report.sh"] = _REPORT_SCRIPT.format(
        name="retread-report", own=_OWN, command=shlex.join(cluster.command), arguments=shlex.join(where)
    )
    found[SUBMIT] = _SUBMIT_SCRIPT.format(
        folder=shlex.quote(str(cluster.folder)),
        out=shlex.quote(str(cluster.out)),
        options="".join(f"{shlex.quote(one)} " for one in cluster.options),
        arrays="\n".join(_submission(one, {other.after for other in arrays}) for one in arrays),
    )
    return found


def _arrays(jobs: Sequence[Job]) -> Iterator[_Array]:
    """Yield the arrays, each behind the one that it comes after."""
    builds = [one for one in jobs if one.kind is Kind.BUILD]
    place: dict[str, tuple[str, int]] = {}  # key of a build -> its array, its number there
    for number, (request, part) in enumerate(_parts(builds), 1):
        name = f"build-{number}"
        place |= {one.key: (name, index) for index, one in enumerate(part)}
        yield _Array(name, request, dict(enumerate(part)), "")
    found: dict[tuple[str, _Request], dict[int, Job]] = {}
    for one in jobs:
        if one.kind is not Kind.BUILD:
            array, index = place[one.after[0]]
            found.setdefault((array, _request(one)), {})[index] = one
    for number, ((after, request), numbered) in enumerate(found.items(), 1):
        gpu = f"-cc{request.gpu}" if request.gpu else ""
        yield _Array(f"smoke-{number}{gpu}", request, numbered, after)


def _parts(jobs: Sequence[Job]) -> Iterator[tuple[_Request, list[Job]]]:
    alike: dict[_Request, list[Job]] = {}
    for one in jobs:
        alike.setdefault(_request(one), []).append(one)
    for request, found in alike.items():
        for start in range(0, len(found), _ARRAY):
            yield request, found[start : start + _ARRAY]


def _request(job: Job) -> _Request:
    needs = job.needs
    return _Request(
        kind=job.kind,
        cores=needs.cores,
        memory=_above(_MEMORY, -(-needs.memory_bytes // _MIB)),
        minutes=_above(_MINUTES, int(needs.seconds * _MARGIN / 60) + 1),
        gpu=needs.gpu,
        processor=needs.processor,
    )


def _above(steps: Sequence[int], number: int) -> int:
    """Return the smallest step that holds a number, or the number where none does."""
    return next((one for one in sorted(steps) if one >= number), number)


def _script(array: _Array, cluster: Cluster) -> str:
    request = array.request
    special = []
    if request.gpu:
        special.append(f"--gres={cluster.gres.get(request.gpu, 'gpu:1')}")
    if request.processor != platforms.COMPILED[0]:
        special.append(f"--constraint={request.processor}")
    arguments = ("--root", cluster.root, "--jobs", cluster.folder / JOBS, "--out", cluster.out)
    return _ARRAY_SCRIPT.format(
        submit=SUBMIT,
        name=f"retread-{array.name}",
        numbers=",".join(map(str, array.jobs)),
        cores=request.cores,
        memory=request.memory + _OWN,
        minutes=request.minutes,
        special="".join(f"#SBATCH {one}\n" for one in special),
        keys="\n".join(f"    [{number}]={one.key} # {one.name}" for number, one in array.jobs.items()),
        command=shlex.join(cluster.command),
        arguments=shlex.join(map(str, arguments)),
    )


def _submission(array: _Array, followed: Collection[str]) -> str:
    """Return the lines that submit an array behind the one that it comes after."""
    request = array.request
    words = ["array", array.name, str(request.memory * MORE + _OWN), str(request.minutes * MORE)]
    line = " ".join([*words, *([f'--dependency="${_variable(array.after)}"'] if array.after else [])])
    return f"{line}\n{_variable(array.name)}=$after" if array.name in followed else line


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name)
