# SPDX-License-Identifier: GPL-2.0
"""Running programs and reporting progress: the only place that calls subprocess.run().

Programs are lists, never shell strings. Text is UTF-8 with surrogateescape, so that bytes of
another encoding in an old source file pass through Python unchanged.
"""

import concurrent.futures
import functools
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

SERIAL = threading.RLock()
TAIL = 25       # lines of a log shown when a step fails


class Failure(Exception):
    """Something the user has to know and can act on; cli.py prints it and exits 1."""


def encode(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def decode(data):
    return data.decode("utf-8", "surrogateescape")


def environment(changes):
    """os.environ with @changes; a value of None removes the variable."""
    env = dict(os.environ)
    for name, value in (changes or {}).items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


def missing_program(cmd, what):
    return Failure(f"{what or 'cannot go on'}: {cmd[0]} is not installed; run `make deps`")


def attempt(cmd, *, cwd=None, env=None, input=None):
    """Run @cmd and return (exit status, stdout, stderr), the texts decoded; never raises on failure."""
    cmd = [str(word) for word in cmd]
    try:
        done = subprocess.run(cmd, cwd=cwd, env=environment(env), capture_output=True, check=False,
                              **({"stdin": subprocess.DEVNULL} if input is None
                                 else {"input": encode(input)}))
    except FileNotFoundError as error:
        if cwd is not None and not Path(cwd).is_dir():
            raise Failure(f"no directory {cwd}") from error
        raise missing_program(cmd, None) from error
    return done.returncode, decode(done.stdout), decode(done.stderr)


def run(cmd, *, cwd=None, log=None, env=None, input=None, what=""):
    """Run @cmd; raise Failure if it fails.

    With @log, all output is appended to that file, and a failure names it and shows its end.
    Without, output is captured and stdout returned. @env holds changes to the environment, @what
    says in the error message what was being done.
    """
    cmd = [str(word) for word in cmd]
    what = what or shlex.join(cmd)
    if log is None:
        status, stdout, stderr = attempt(cmd, cwd=cwd, env=env, input=input)
        if status:
            output = (stderr.strip() or stdout.strip()).splitlines()[-TAIL:]
            raise Failure("\n".join([f"{what}: {cmd[0]} exited {status}", *output]))
        return stdout
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        file.write(encode(f"$ {shlex.join(cmd)}\n"))
        file.flush()
        try:
            status = subprocess.run(cmd, cwd=cwd, env=environment(env), stdout=file,
                                    stderr=subprocess.STDOUT, check=False,
                                    **({"stdin": subprocess.DEVNULL} if input is None
                                       else {"input": encode(input)})).returncode
        except FileNotFoundError as error:
            if cwd is not None and not Path(cwd).is_dir():
                raise Failure(f"{what}: no directory {cwd}") from error
            raise missing_program(cmd, what) from error
    if status:
        tail = decode(log.read_bytes()).splitlines()[-TAIL:]
        raise Failure("\n".join([f"{what}: {cmd[0]} exited {status}; the end of {log}:",
                                 *("    " + line for line in tail)]))
    return ""


def pipeline(commands):
    """Run @commands as a pipeline; returns (exit status, stderr) of each."""
    running, texts, before = [], [], subprocess.DEVNULL
    for command in commands:
        # A file for each: a pipe that nobody reads would fill up.
        texts.append(tempfile.TemporaryFile())
        last = command is commands[-1]
        running.append(subprocess.Popen([str(word) for word in command], stdin=before, stderr=texts[-1],
                                        stdout=subprocess.DEVNULL if last else subprocess.PIPE, env=environment({"LC_ALL": "C"})))
        if before is not subprocess.DEVNULL:
            before.close()      # so that the preceding one notices when this one ends
        before = running[-1].stdout
    found = []
    for process, text in zip(running, texts):
        status = process.wait()
        text.seek(0)
        found.append((status, decode(text.read())))
        text.close()
    return found


def say(text, file=None):
    # The user's terminal may not support every character of a path or message: replace, never fail.
    file = file or sys.stdout
    file.write(encode(text).decode("utf-8", "replace") + "\n")
    file.flush()


def note(text):
    say(f"note: {text}")


def parallel(function, items):
    """The results of @function for each of @items, in their order, with as many threads as processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(function, items))


def serial(function):
    """Decorator: only one thread at a time runs any function that has it. These functions may call each other."""
    @functools.wraps(function)
    def locked(*args, **kwargs):
        with SERIAL:
            return function(*args, **kwargs)
    return locked


@contextmanager
def step(text):
    """Announce a step that takes time, and say how long it took."""
    say(f"==> {text}")
    start = time.monotonic()
    yield
    say(f"    {time.monotonic() - start:.1f} s: {text}")
