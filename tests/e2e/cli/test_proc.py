"""Running programs: explicit environment, one message on failure, and nobody is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retread.doors import proc
from retread.errors import ToolError


def _python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_what_a_program_says_comes_back(tmp_path: Path) -> None:
    done = proc.run(
        _python("import sys, os; print(os.getcwd()); sys.stderr.write('talk')"), env={}, cwd=tmp_path
    )
    assert done == (0, f"{tmp_path}\n", "talk")


def test_a_program_gets_the_environment_that_is_passed_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    done = proc.run(_python("import os; print(sorted(os.environ))"), env={"ONLY": "1"})
    assert "SECRET" not in done.stdout
    assert "ONLY" in done.stdout


def test_a_failure_carries_command_code_and_the_last_lines() -> None:
    with pytest.raises(ToolError) as caught:
        proc.run(_python("import sys; [print('line', n) for n in range(50)]; sys.exit('the end')"), env={})
    text = str(caught.value)
    assert "failed with exit code 1" in text
    assert text.count("line ") == 11
    assert text.splitlines()[-1].strip() == "the end"
    assert proc.run(_python("raise SystemExit(3)"), env={}, check=False).code == 3


def test_a_killed_program_is_named_by_its_signal() -> None:
    with pytest.raises(ToolError, match="was killed by SIGKILL"):
        proc.run(_python("import os; os.kill(os.getpid(), 9)"), env={})


def test_a_program_that_cannot_start_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not be started: No such file"):
        proc.run([tmp_path / "none"], env={})
    with pytest.raises(ToolError, match=r"^nosuchprogram is not installed; it is needed\n  next: install"):
        proc.find("nosuchprogram", why="it is needed")


def test_a_program_that_does_not_end_in_time_is_told() -> None:
    with pytest.raises(ToolError, match=r"sleep did not end within 0\.1 s"):
        proc.run(["sleep", "600"], env={"PATH": os.environ["PATH"]}, limit=0.1)


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    assert "\ufffd" in proc.run(_python("import os; os.write(1, b'\\xff')"), env={}).stdout


def test_an_interrupt_kills_the_whole_group(tmp_path: Path) -> None:
    """The program starts a child that holds a pipe open; the pipe ends when all of them are dead."""
    os.mkfifo(tmp_path / "alive")
    child = (
        f"f = open({str(tmp_path / 'alive')!r}, 'w'); f.write('up'); f.flush(); __import__('signal').pause()"
    )
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    ended: list[str] = []

    def watch() -> None:
        with (tmp_path / "alive").open() as pipe:
            assert pipe.read(2) == "up"
            os.kill(os.getpid(), signal.SIGINT)
            ended.append(pipe.read())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        proc.run(_python(program), env={})
    watcher.join(10)
    assert ended == [""]
    assert not proc._live


def test_programs_do_not_outlive_a_process_that_is_killed(tmp_path: Path) -> None:
    """One is killed with its child, another is asked first; both hold a pipe open, which ends when all are dead."""
    os.mkfifo(tmp_path / "alive")
    held = f"exec 3>{tmp_path}/alive; sleep 60 & echo up >&2; wait"
    asked = f"trap 'echo asked >{tmp_path}/asked; kill $!; exit' TERM; {held}"
    program = f"""if True:
        import threading
        from retread.doors import proc
        def heard(line):
            while len(proc._live) < 2:
                pass
            print(line, flush=True)
        env = {{"PATH": {os.environ["PATH"]!r}}}
        threading.Thread(target=proc.run, args=(["sh", "-c", {held!r}],), kwargs={{"env": env}}).start()
        proc.run_heard(["sh", "-c", {asked!r}], env=env, heard=heard)
    """
    start = subprocess.Popen(_python(program), stdout=subprocess.PIPE)
    with start as process, (tmp_path / "alive").open() as alive:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        process.kill()
        assert alive.read() == ""
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_what_other_threads_wait_for_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up")
    program = f"open({str(tmp_path / 'up')!r}, 'w').close(); __import__('signal').pause()"
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(proc.run(_python(program), env={}, check=False).code)
    )
    thread.start()
    (tmp_path / "up").read_text()  # it runs, and may not be noted yet
    with proc.stopping():
        thread.join()
    assert codes == [-signal.SIGKILL]


def test_what_is_started_while_all_are_stopped_is_killed_too() -> None:
    pause = _python("__import__('signal').pause()")
    with proc.stopping():
        assert proc.run(pause, env={}, check=False).code == -signal.SIGKILL
    assert proc.run(_python("print('on again')"), env={}).stdout == "on again\n"


def test_after_the_end_nothing_is_started_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "_stopping", threading.Event())
    proc.close()
    assert proc.run(_python("__import__('signal').pause()"), env={}, check=False).code == -signal.SIGKILL


def test_an_interrupt_while_a_program_starts_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def interrupted(*arguments: object, **options: object) -> subprocess.Popen[str]:
        started.append(real(*arguments, **options))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        proc.run(["sleep", "60"], env={"PATH": os.environ["PATH"]})
    assert signal.getsignal(signal.SIGINT) is handler
    with proc.stopping():  # as when the command line ends
        pass
    [process] = started
    with process:
        assert process.wait(10) == -signal.SIGKILL
    proc._live.discard(process)
