"""A command line of `lite3r` in this process, then others in its children, which start warm.

The first is given as arguments; one line answers how it ended. Then one JSON request a line on
standard input, one answer a line: `[words, file]` starts another, its errors written to the file,
and answers its process; `[process, wait]` answers how that ended, null where it has not.
"""

import contextlib
import json
import os
import signal
import sys
from multiprocessing import get_context

import torch

from lite3r.distillation import report
from lite3r.main import main

Process = get_context("fork").Process


def child(words: list[str], errors: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    for stream, path in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.exit(main(words))


def serve() -> None:
    torch.set_num_threads(1)  # a process with more cannot be forked
    report.REPEATS = 1  # how long models take is not the question
    with contextlib.redirect_stdout(sys.stderr):
        code = main(sys.argv[1:])
    print(code, flush=True)
    children = {}
    for line in sys.stdin:
        one, other = json.loads(line)
        if isinstance(one, int):
            if other:
                children[one].join()
            answer = children[one].exitcode
        else:
            started = Process(target=child, args=(one, other))
            started.start()
            children[started.pid] = started
            answer = started.pid
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
