"""The command in a shell: completion, exit codes, streams, the log file."""

import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from lite3r.commands import COMMANDS
from lite3r.main import CLOSED_PIPE, INTERRUPTED, TERMINATED, USER_ERROR, main
from lite3r.options.info import Info
from lite3r.shell.errors import UserError, reported
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.recipes import Recipe


@pytest.mark.skipif(platform.machine() != "x86_64", reason="spins are counted in x86's pauses")
@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ((), "1000"),
        (("GOMP_SPINCOUNT=7",), "7"),
        (("OMP_WAIT_POLICY=active",), "30000000000"),
    ],
)
def test_threads_that_wait_sleep_soon_unless_told_otherwise(
    given: tuple[str, ...], spins: str
) -> None:
    """Asked of PyTorch's OpenMP itself: it reads its settings once, as it is loaded."""
    clean = ("env", "-u", "GOMP_SPINCOUNT", "-u", "OMP_WAIT_POLICY", "OMP_DISPLAY_ENV=VERBOSE")
    command = [*clean, *given, sys.executable, "-m", "lite3r", "info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this PyTorch has another OpenMP")
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


@pytest.fixture(scope="module")
def completion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shell") / "lite3r.bash"
    with pytest.raises(SystemExit):
        main(["--tyro-write-completion", "bash", str(path)])
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lite3r ", set(COMMANDS)),
        ("lite3r rec", {"reconstruct"}),
        ("lite3r view --ht", {"--html"}),
        ("lite3r export --kind ", {"deployed", "hub", "program", "onnx"}),
    ],
)
def test_bash_completes_commands_options_and_choices(
    completion: Path, line: str, expected: set[str]
) -> None:
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"source {completion}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        "name=$(complete -p lite3r | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $name; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert expected <= set(done.stdout.split()), done.stderr


def test_zsh_gets_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--tyro-print-completion", "zsh"])
    assert "#compdef lite3r" in capsys.readouterr().out


def test_a_mistake_is_one_sentence_and_exit_code_2(lite3r: Any) -> None:
    done = lite3r("view", "nowhere")
    assert done.code == USER_ERROR
    assert done.out == ""
    assert done.err.startswith("lite3r: nowhere")
    assert "Traceback" not in done.err


def test_verbose_tells_where_a_mistake_was_found(lite3r: Any) -> None:
    done = lite3r("view", "nowhere", "--verbose")
    assert done.code == USER_ERROR
    assert "Traceback" in done.err
    assert "commands/view.py" in done.err.replace("\\", "/")


def test_ctrl_c_is_exit_code_130(lite3r: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(command: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Info, "run", stop)
    done = lite3r("info")
    assert done.code == INTERRUPTED
    assert "no half-written file" in done.err


def test_sigterm_is_answered_while_a_command_runs_and_by_its_thread_alone(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, codes = signal.getsignal(signal.SIGTERM), []
    assert lite3r("info").code == 0
    thread = threading.Thread(target=lambda: codes.append(main(["info", "--quiet"])))
    thread.start()
    thread.join()
    assert codes == [0]
    monkeypatch.setattr(Info, "run", lambda command: signal.raise_signal(signal.SIGTERM))
    done = lite3r("info")
    assert done.code == TERMINATED
    assert "no half-written file" in done.err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_bug_keeps_its_traceback(lite3r: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Info, "run", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        lite3r("info")


def test_only_what_our_packages_say_of_an_input_is_told_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"keep=3\.0"), reported():
        Recipe(keep=3.0)
    with pytest.raises(ValueError, match="broadcast") as bug, reported():
        np.zeros(3) + np.zeros(2)
    assert not isinstance(bug.value, UserError)


def test_a_complaint_counts_as_one_only_where_it_is_looked_for() -> None:
    with pytest.raises(ValueError, match=r"keep=3\.0") as bug, reported(of=("distill.resume",)):
        Recipe(keep=3.0)
    assert not isinstance(bug.value, UserError)
    with pytest.raises(UserError), reported(of=("lite3r", "sla_kernels.runtime")):
        Recipe(keep=3.0)


@pytest.mark.parametrize(
    "place", ["lite3r.student.compose.sparsify", "lite3r.distillation.run.teach"]
)
def test_a_bug_in_a_run_keeps_its_traceback_though_it_says_what_a_mistake_would(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    import_module("lite3r.commands.distill")  # what is imported later would keep the plant
    monkeypatch.setattr(place, lambda *given, **named: Recipe(keep=3.0))
    with pytest.raises(ValueError, match=r"keep=3\.0") as bug:
        lite3r.distill()
    assert not isinstance(bug.value, UserError)


@pytest.mark.parametrize("say", ["print", "Terminal(Output()).result"])
def test_a_reader_that_leaves_early_is_no_bug(say: str) -> None:
    words = "'x' * 100" if say == "print" else "{}, 'x' * 100"
    code = (
        "import sys; from lite3r.main import main; from lite3r.options.info import Info\n"
        "from lite3r.shell.terminal import Output, Terminal\n"
        f"Info.run = lambda self: [{say}({words}) for _ in range(10_000)]\n"
        "sys.exit(main(['info']))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(timeout=60) == CLOSED_PIPE
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()


PRINTS = (["--help"], ["--version"], ["info", "--help"], ["--tyro-print-completion", "bash"])


@pytest.mark.parametrize("words", PRINTS)
def test_a_reader_of_help_may_leave_too(words: list[str]) -> None:
    code = f"import os, sys; from lite3r.main import main; os.close(0); sys.exit(main({words}))"
    reader, writer = os.pipe()
    os.close(reader)
    running = [sys.executable, "-c", code]
    done = subprocess.run(running, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (CLOSED_PIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
@pytest.mark.parametrize("words", [*PRINTS[:3], ["info"], ["info", "--json"]])
def test_a_result_that_finds_no_room_is_told_in_a_sentence(words: list[str]) -> None:
    code = f"import sys; from lite3r.main import main; sys.exit(main({words}))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == USER_ERROR
    assert done.stderr == b"lite3r: No space left on device: make room, or write elsewhere\n"


def test_results_and_talk_go_to_different_streams(lite3r: Any) -> None:
    words = ("data", "make", "scenes", "--scenes", "1", "--views", "2", "--size", "28")
    done = lite3r(*words, "--json")
    assert json.loads(done.out)["scenes"] == 1
    assert "drawing" in done.err
    quiet = lite3r(*words, "--overwrite", "--quiet")
    assert quiet.err == ""
    assert "1 scenes" in quiet.out


def test_the_log_file_holds_times_and_errors(lite3r: Any) -> None:
    assert lite3r("view", "nowhere", "--log-file", "log.txt").code == USER_ERROR
    (line,) = Path("log.txt").read_text().splitlines()
    moment, _, text = line.partition(" ")
    assert moment.endswith("+00:00")
    assert text.startswith("error: nowhere")


def test_the_log_file_takes_names_that_are_no_utf_8(lite3r: Any) -> None:
    folder = Path(os.fsdecode(b"fotos\xff"))
    folder.mkdir()
    (folder / "bad.jpg").write_bytes(b"no photo")
    done = lite3r("data", "check", folder, "--log-file", "log.txt")
    done.refuses("1 of 1 photos are not usable")
    assert "fotos\\udcff/bad.jpg: its content is no" in Path("log.txt").read_text()


def test_a_log_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    terminal = Terminal(Output(log_file=tmp_path / "missing" / "log.txt"))
    with pytest.raises(UserError, match="choose another --log-file"):
        terminal.say("hello")


def test_verbose_shows_what_libraries_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    Terminal(Output(verbose=True))
    logging.root.info("a library speaks")
    assert "a library speaks" in capsys.readouterr().err


def test_a_bar_within_a_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """As of a row that trains among those that are measured; rich below 14.1 refuses it."""
    terminal = Terminal(Output())
    terminal.console = Console(stderr=True, force_terminal=True)
    for _ in terminal.words.each("measuring", [1], 1):
        with terminal.words.progress("teaching", 3) as advance:
            advance()
    assert "teaching" in capsys.readouterr().err


def test_quiet_and_verbose_contradict(lite3r: Any) -> None:
    done = lite3r("info", "--quiet", "--verbose")
    assert done.code == USER_ERROR
    assert "contradict" in done.err


def test_a_result_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    path = "photos[old]/:car:/[/x]"
    terminal = Terminal(Output())
    terminal.result({}, f"4 views in {path}")
    row = f"| {' | '.join(['a cell'] * 20)} |"
    terminal.result({}, f"{row}\n{row}")
    table = Table(path, title=path)
    table.add_row(path)
    terminal.result({}, table)
    shown = capsys.readouterr().out
    assert shown.startswith(f"4 views in {path}\n{row}\n{row}\n")
    assert shown.count(path) == 4
    for line in (path, f"lite3r reconstruct PHOTOS --model {'a folder/' * 20}"):
        terminal.say(line)
        assert capsys.readouterr().err == f"{line}\n"


ANSWER = """
import sys; from rich.table import Table; from lite3r.main import main
from lite3r.options.info import Info; from lite3r.shell.terminal import Output, Terminal
Info.run = lambda self: Terminal(Output()).result({}, Table("AbsRel \u2193", "12"))
sys.exit(main(["info"]))
"""


def test_a_result_is_shown_where_its_letters_are_missing_or_nobody_listens() -> None:
    narrow = ["env", "PYTHONIOENCODING=cp1252", sys.executable, "-c", ANSWER]
    done = subprocess.run(narrow, capture_output=True)
    assert done.returncode == 0 and done.stderr == b""
    assert b"AbsRel \\u2193" in done.stdout and b"12" in done.stdout
    deaf = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, ANSWER])
    assert deaf.returncode == 0
