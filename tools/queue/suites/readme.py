# SPDX-License-Identifier: GPL-2.0
"""Runs the README's commands as they are written: `make check` runs those that take seconds, `make check-full` all.

`~/linux` is a git tree of the oldest kernel. None of them may change a file that the repository keeps.
"""

import shlex
import shutil

from base import config, gitcmd, steps
from lab import debian
from suites import promises

README = config.ROOT / "README.md"
ITSELF = ("make check", "make check-full")          # what runs this
WRITTEN = ("pace.json", "TESTED.md")    # `make table` writes them from runs here: restored afterwards
SLOW = ("make run", "make pin", "make -C ")         # how other commands begin that `make check` leaves out


def commands():
    """The lines of the README's code blocks."""
    text = README.read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and not line.strip().startswith("|")]


def check(results, slow=False):
    """Run them, including the @slow ones on request; nothing else may use build/ meanwhile."""
    kernel = config.kernels()[0]
    home = config.BUILD / "readme"
    shutil.rmtree(home, ignore_errors=True)     # left by a run that was interrupted
    for command in commands():
        if command in ITSELF or (command.startswith(SLOW) and not slow):
            continue
        with results.pace.timed("the README's commands", "-"):
            promises.attempt(results, "-", f"readme.{command.replace(' ', '_')}", lambda command=command: run(kernel, home, command))
    shutil.rmtree(home, ignore_errors=True)


def run(kernel, home, command):
    """What is wrong with @command, or None."""
    linux = home / "linux"
    if "~/linux" in command and not linux.exists():
        home.mkdir(parents=True, exist_ok=True)
        # A full clone: --shared would make it depend on build/.
        gitcmd.own(home, config.queue())("clone", "--quiet", kernel.pristine, linux)
    if "KDIR=" in command:
        # Restore the state before an earlier command.
        gitcmd.own(linux, config.queue())("reset", "--quiet", "--hard", "base")
    before = promises.contents()
    user = {"HOME": home, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "User", "GIT_AUTHOR_EMAIL": "user@example.org",
            "GIT_COMMITTER_NAME": "User", "GIT_COMMITTER_EMAIL": "user@example.org", "MAKEFLAGS": None, "MAKELEVEL": None}
    words = [word.replace("~", str(home)) for word in shlex.split(command)]
    if "CROSS_COMPILE=" in command:
        # A user has a cross compiler and a C library for it; here both are in build/.
        cross, env = debian.cross_compiler()
        user.update(env)
        words.append(f"CC={cross}gcc --sysroot={debian.arm64()}")
    status, stdout, stderr = steps.attempt(words, cwd=config.ROOT, env=user)
    if status:
        return f"exit status {status}: " + (stderr.strip() or stdout.strip()).replace("\n", "; ")[-500:]
    after = promises.contents()
    changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    for path in [path for path in before if path.name in WRITTEN and str(path) in changed]:
        path.write_bytes(before[path])
        changed.remove(str(path))
    return f"changes {', '.join(changed)}" if changed else None
