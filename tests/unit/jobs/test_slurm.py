"""Scripts for Slurm: what is alike is one array, trials keep the numbers of their builds, and names do no harm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.errors import UsageError
from retread.jobs import job, slurm
from retread.jobs.job import Job, Kind, Needs
from retread.jobs.slurm import Cluster
from retread.recipe.lane import Lane
from retread.records import Sha256
from retread.smoke.level import Level

NEEDS = Needs(cores=2, memory_bytes=1 << 30, seconds=300, disk_bytes=0, gpu=None, processor="x86_64")
CLUSTER = Cluster(
    folder=Path("/mnt/my jobs"), out=Path("/mnt/o$(reboot)"), root=Path("/src/it's"), command=("retread",),
    gres={Arch("9.0"): "gpu:h100"}, options=("--partition=a b",),
)  # fmt: skip


def build(name: str, **needs: object) -> Job:
    return job.sealed(
        Job(
            key=Sha256(64 * "0"), kind=Kind.BUILD, name=f"build-{name}", recipe=name, target="cu128", lane=Lane.OVERLAY,
            python="3.9", platform="x86_64", needs=replace(NEEDS, **needs), inputs={},
        )
    )  # fmt: skip


def trial(of: Job, gpu: str | None = None, processor: str = "x86_64") -> Job:
    needs = replace(NEEDS, gpu=Arch(gpu) if gpu else None, memory_bytes=8 << 30, processor=processor)
    name = of.name.replace("build", "smoke") + (f"-cc{gpu}" if gpu else "")
    return job.sealed(
        replace(of, kind=Kind.SMOKE, name=name, needs=needs, after=(of.key,), level=(Level.STATIC,))
    )


SMALL, LARGE, OTHER = build("a"), build("b", memory_bytes=9 << 30, cores=8, seconds=9000), build("c")


def scripts(*jobs: Job) -> dict[str, str]:
    return slurm.scripts(jobs, CLUSTER)


def lines(script: str, word: str) -> list[str]:
    return [line for line in script.splitlines() if word in line]


def test_jobs_that_ask_for_the_same_are_one_array() -> None:
    found = scripts(SMALL, LARGE, OTHER)
    assert list(found) == ["build-1.sh", "build-2.sh", "report.sh", "submit.sh"]
    assert lines(found["build-1.sh"], "#SBATCH") == [
        "#SBATCH --job-name=retread-build-1",
        "#SBATCH --array=0,1",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=1280M",
        "#SBATCH --time=10",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
    ]
    assert lines(found["build-1.sh"], "]=") == [
        f"    [0]={SMALL.key} # build-a", f"    [1]={OTHER.key} # build-c",
    ]  # fmt: skip
    assert "#SBATCH --mem=12544M\n#SBATCH --time=240" in found["build-2.sh"]


def test_a_trial_has_the_number_of_its_build_and_follows_it_or_its_second_try() -> None:
    found = scripts(SMALL, trial(SMALL), LARGE, OTHER, trial(OTHER, "9.0"), trial(LARGE, "12.0"))
    assert "--array=0\n" in found["smoke-1.sh"]
    assert "--array=1\n" in found["smoke-2-cc9.0.sh"]
    assert "--gres=gpu:h100\n" in found["smoke-2-cc9.0.sh"]
    assert "--gres=gpu:1\n" in found["smoke-3-cc12.0.sh"]
    assert [line for line in found["submit.sh"].splitlines() if line.startswith(("array ", "build_"))] == [
        "array build-1 2304 20",
        "build_1=$after",
        "array build-2 24832 480",
        "build_2=$after",
        'array smoke-1 16640 20 --dependency="$build_1"',
        'array smoke-2-cc9.0 16640 20 --dependency="$build_1"',
        'array smoke-3-cc12.0 16640 20 --dependency="$build_2"',
    ]


def test_a_trial_for_another_processor_asks_for_it() -> None:
    assert "#SBATCH --constraint=aarch64\n" in scripts(SMALL, trial(SMALL, processor="aarch64"))["smoke-1.sh"]


def test_an_array_has_no_more_jobs_than_slurm_takes() -> None:
    jobs = [build(f"r{number}") for number in range(1001)]
    found = scripts(*jobs, trial(jobs[1000]))
    assert [name for name in found if name.startswith("build")] == ["build-1.sh", "build-2.sh"]
    assert "--array=0\n" in found["build-2.sh"]
    assert '\narray smoke-1 16640 20 --dependency="$build_2"\n' in found["submit.sh"]


def test_every_path_is_one_word_to_the_shell() -> None:
    strange = build("x")
    found = slurm.scripts([strange], CLUSTER._replace(command=("printf", r"<%s>\n")))
    env = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "0"}
    command = ["bash", "-c", found["build-1.sh"], "bash", "--retry"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    words = (
        "run-job", strange.key, "--root", "/src/it's", "--jobs", "/mnt/my jobs/jobs.json", "--out", "/mnt/o$(reboot)",
        "--retry",
    )  # fmt: skip
    assert done.stdout == "".join(f"<{word}>\n" for word in words)
    submit = ["/bin/bash", "-c", found["submit.sh"]]
    here = subprocess.run(submit, env={"PATH": "/no"}, capture_output=True, text=True, check=False)
    assert (here.returncode, here.stderr) == (
        1,
        "submit: there is no sbatch here; run this on a login node\n",
    )
    assert "cd '/mnt/my jobs'\n" in found["submit.sh"]
    assert "mkdir -p logs '/mnt/o$(reboot)'\n" in found["submit.sh"]
    assert " '--partition=a b' \"$@\"" in found["submit.sh"]


@pytest.mark.parametrize("word", ["", "partition", "job.sh", "--x\nrm", "--", "-"])
def test_what_is_no_option_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is no option like --partition=build"):
        slurm.parse_options([word], {})


SAYS = {
    "the scripts themselves say": (
        "--array=1-3", "--arr=1-3", "-a1", "-Ha1", "--dependency=singleton", "-d x", "-olog", "--output=x",
        "--parsable", "--wrap=x", "-Jname", "--requeue", "--open-mode=truncate", "--test-only", "--wait", "-D/tmp",
        "--chdir=/tmp",
    ),
    "each array says by what its jobs need": (
        "--mem=4G", "--mem-per-cpu=1G", "--time=10", "-t10", "--cpus-per-task=2", "-c2", "--cpus=2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "word"), [(said, word) for said, words in SAYS.items() for word in words])
def test_an_option_that_the_scripts_say_is_refused_by_name(said: str, word: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        slurm.parse_options([word], scripts(SMALL))
    assert f"--sbatch: {word!r} is what " in str(refused.value)
    assert ("take --jobs FILE" in refused.value.hint) == ("need" in said)


def test_options_of_the_site_are_taken_and_of_the_scripts_only_what_they_say() -> None:
    words = (
        "--partition=a b",
        "-Aw",
        "--exclusive",
        "--array-x",
        "--time-min=5",
        "--no-requeue",
        "-pgpu",
        "--gpus=1",
    )
    assert slurm.parse_options(words, scripts(SMALL)) == words
    special = {"--constraint=avx512": trial(SMALL, processor="aarch64"), "--gres=disk:5": trial(SMALL, "9.0")}
    for word, says_it in special.items():
        assert slurm.parse_options([word], scripts(SMALL)) == (word,)
        with pytest.raises(UsageError, match="the scripts themselves say"):
            slurm.parse_options([word], scripts(SMALL, says_it))


REFUSED = {
    "9.0": "'9.0' is not like 9.0=gpu:h100 or 9.0=gpu:h100:1",
    "9.0=gpu:a b": "is not like",
    "9.0=h100": "is not like",
    "9.1=gpu": "no job wants a GPU '9.1'",
}


@pytest.mark.parametrize(("word", "said"), REFUSED.items())
def test_a_resource_that_is_none_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        slurm.parse_gres([word], [Arch("9.0")])
    with pytest.raises(UsageError, match="is there twice"):
        slurm.parse_gres(["9.0=gpu", "9.0=gpu:h100"], [Arch("9.0")])
