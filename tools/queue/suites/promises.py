# SPDX-License-Identifier: GPL-2.0
"""The suite `queue`: the weaver's own tests, and the promises of the queue's commands, tried on the real kernels."""

import hashlib
import os
import shutil
import sys
import time
import xml.etree.ElementTree as ET

from base import config, gitcmd, origin, steps
from suites import alone
from suites.results import FAIL, PASS, SKIP
from weave import mails, tree

CLI = config.HERE / "cli.py"
KERNEL = ("Makefile", "Kbuild")     # files by which a kernel's tree is recognized


def weaver(results):
    """The pytest suite, with one result for each test, and the queue's own rules."""
    with results.pace.timed("weaver's tests", "-"):
        pytest(results)
        attempt(results, "-", "verify", verify)


def pytest(results):
    report = config.BUILD / "pytest.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    log = config.BUILD / "log" / "pytest.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    status, stdout, stderr = steps.attempt(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
         config.HERE / "tests"], cwd=config.ROOT)
    log.write_text(stdout + stderr, encoding="utf-8", errors="replace")
    cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    for case in cases:
        problem = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        skipped = case.find("skipped")
        verdict = FAIL if problem is not None else SKIP if skipped is not None else PASS
        why = problem if problem is not None else skipped
        results.add("-", "queue", f"{case.get('classname', '').split('.')[-1]}.{case.get('name')}", verdict,
                    why.get("message", "") if why is not None else "", float(case.get("time", 0)), log)
    if status and not any(result.verdict == FAIL for result in results.all if result.kernel == "-"):
        results.add("-", "queue", "pytest", FAIL, f"exit status {status}; see {log}", log=log)


def check(kernel, made, results):
    """Check the promises; @made: the tree.Stack of @kernel."""
    with results.pace.timed("promises", kernel):
        attempt(results, kernel.name, "series-repeats", lambda: series_repeats(kernel))
        attempt(results, kernel.name, "am-gives-tree", lambda: am_gives_tree(kernel, made))
        if origin.is_tested(config.queue(), kernel):
            attempt(results, kernel.name, "refresh-leaves-no-diff", lambda: refresh_leaves_no_diff(kernel))
            attempt(results, kernel.name, "tree-is-pinned", lambda: tree.unlike_pin(config.queue(), kernel))
            for name in alone.topics(kernel):
                attempt(results, kernel.name, f"topic-alone.{name}", lambda name=name: topic_alone(kernel, name))
        else:
            results.add(kernel.name, "queue", "refresh-leaves-no-diff", SKIP, "the source is not the tested one")


def attempt(results, kernel, name, test):
    start = time.monotonic()
    reason = test()
    results.add(kernel, "queue", name, FAIL if reason else PASS, reason or "", time.monotonic() - start)


def command(*args, env=None):
    """One of the queue's own commands; returns (status, all that it printed)."""
    features = ["--features", " ".join(config.queue().features)] if args[0] in ("series", "am") else []
    status, stdout, stderr = steps.attempt([sys.executable, "-B", CLI, *args, *features], cwd=config.ROOT, env=env)
    return status, stdout + stderr


def verify():
    status, output = command("verify")
    return output.replace("\n", "; ") if status else None


def series_repeats(kernel):
    seen = set()
    for env in ({"LC_ALL": "C", "TZ": "UTC"}, {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kolkata", "HOME": "/nonexistent"}):
        status, output = command("series", "--kernel", kernel.name, env=env)
        if status:
            return output.replace("\n", "; ")
        digest = hashlib.sha256()
        for path in sorted(kernel.out.glob("*.patch")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        seen.add(digest.hexdigest())
    return None if len(seen) == 1 else "`make series` gives other bytes in another environment"


def am_gives_tree(kernel, made):
    """`make am` on a user's tree gives the same files; or, if some patches do not apply, a refusal that names them all."""
    git, touched = users_tree(kernel)
    base = git.commit("HEAD")
    user = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "User", "GIT_AUTHOR_EMAIL": "user@example.org",
            "GIT_COMMITTER_NAME": "User", "GIT_COMMITTER_EMAIL": "user@example.org"}
    status, output = command("am", "--kdir", str(git.directory), env=user)
    if not made.whole:
        named = [*made.left, *made.there]
        if not status or not all(path in output for path in named) or git.commit("HEAD") != base:
            return f"`make am` should refuse, change nothing and name {' '.join(named)}; it said: " + output.replace("\n", "; ")
        return None
    if status:
        return output.replace("\n", "; ")
    theirs = dict(line.split("\t")[::-1] for line in git("ls-tree", "-r", "HEAD").splitlines())
    ours = dict(line.split("\t")[::-1] for line in gitcmd.own(kernel.tree, config.queue())(
        "ls-tree", "-r", "HEAD", "--", *KERNEL, *touched).splitlines())
    return None if ours == theirs else "`make am` gives other files than `make tree`"


def topic_alone(kernel, name):
    """A topic, with the topics it needs, applies without the others."""
    done = alone.stack(kernel, gitcmd.own(kernel.tree, config.queue()), name, rehearsal=True)
    return None if done.whole else done.refused().replace("\n", "; ")


def users_tree(kernel):
    """(git of a tree with those files of the unpatched kernel that the queue touches, their names).

    A whole kernel would take a quarter of a minute, and the queue does not touch the other files.
    """
    queue = config.queue()
    ours = gitcmd.own(kernel.tree, queue)
    touched = sorted({path for woven in mails.woven(queue, kernel) for path in woven.edits})
    path = kernel.build / "user"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    archive = kernel.build / "user.tar"
    there = ours.line("ls-tree", "-r", "--name-only", "base", "--", *KERNEL, *touched).splitlines()
    ours("archive", "--format=tar", f"--output={archive}", "base", "--", *there)
    steps.run(["tar", "-xf", archive, "-C", path])
    archive.unlink()
    git = gitcmd.own(path, queue)
    git("init", "--quiet", "--initial-branch=user")
    git("add", "--all", "--force")
    git("commit", "--quiet", "-m", "the user's kernel")
    return git, touched


def refresh_leaves_no_diff(kernel):
    before = contents()
    status, output = command("refresh", "--kernel", kernel.name)
    if status:
        return output.replace("\n", "; ")
    after = contents()
    changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return f"`make refresh` right after `make tree` changes {', '.join(changed)}" if changed else None


def contents():
    """{path: bytes} of the files in the repository, committed or not."""
    listing = steps.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=config.ROOT)
    paths = [config.ROOT / name for name in listing.split("\0") if name]
    return {path: path.read_bytes() for path in paths if path.is_file()
            and not path.is_relative_to(config.BUILD) and not path.is_relative_to(config.OUT)}
