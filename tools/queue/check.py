# SPDX-License-Identifier: GPL-2.0
"""`make check`: every test.

    queue      the weaver's own tests, and what it promises, on the real queue
    lint       checkpatch, sparse, kernel-doc (lint.py)
    build      every commit builds (commits.py)
    kunit, kselftest, igt, stress, control     in a guest (boots.py)
    xen        in guests of Xen (xensuite.py)

Guests sleep much of their time, so queue, lint and build go on beside them, on another kernel as long as
there is one, and with less priority: the tests' timing is to be that of a machine at rest.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import sys
import threading
import time
import xml.etree.ElementTree as ET

import boots
import build
import commits
import config
import debian
import gitcmd
import igt
import kselftest
import kunit
import lint
import room
import source
import steps
import tree
import xensuite
from results import FAIL, PASS, SKIP, Results, passing_unpatched
from steps import Failure

SUITES = ("queue", "lint", "build", "kunit", "kselftest", "igt", "stress", "xen", "control")
ASKED = ("xen",)        # only when asked for: it takes an hour by itself
CLI = config.HERE / "cli.py"
BESIDE = 10     # the niceness of what goes on beside the guests


def main(kernels, suites):
    suites = suites or [suite for suite in SUITES if suite not in ASKED]
    unknown = [suite for suite in suites if suite not in SUITES]
    if unknown:
        raise Failure(f"no suite {' '.join(unknown)}; there is: {' '.join(SUITES)}")
    suites = [suite for suite in SUITES if suite in suites]
    debian.deps()
    room.look()
    results = Results()
    prepare = Preparation()
    guests = [suite for suite in (*boots.SUITES, "xen") if suite in suites]
    # Whichever lane has the time takes the next of these.
    rest = Shared(kernels[::-1] if {"queue", "lint", "build"} & set(suites) else [])

    def run_guests():
        lane(kernels, results, prepare, lambda kernel: check_guests(kernel, guests, "control" in suites, results))
        lane(rest, results, prepare, lambda kernel: check_commits(kernel, suites, results))

    def run_rest():
        if len(lanes) > 1:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + BESIDE)
        if "queue" in suites:
            weaver_tests(results)
        lane(rest, results, prepare, lambda kernel: check_commits(kernel, suites, results))

    lanes = [run_guests] if guests or "control" in suites else []
    lanes += [run_rest] if rest.items else []
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        for done in [pool.submit(work) for work in lanes]:
            done.result()
    return results.finish()


class Shared:
    """Items that several threads take from, each when it is done with the last."""

    def __init__(self, items):
        self.items = collections.deque(items)

    def __iter__(self):
        while True:
            try:
                yield self.items.popleft()
            except IndexError:
                return


class Preparation:
    """The tree of a kernel, for whoever needs it first."""

    def __init__(self):
        self.lock = threading.Lock()
        self.done = {}      # kernel's name: what went wrong, or None

    def __call__(self, kernel):
        with self.lock:
            if kernel.name not in self.done:
                self.done[kernel.name] = self.prepare(kernel)
        if self.done[kernel.name]:
            raise Failure(self.done[kernel.name])

    def prepare(self, kernel):
        try:
            source.pristine(kernel)
            tree.make(config.queue(), kernel)
            room.after_preparing(kernel)
        except Failure as failure:
            return str(failure)
        return None


def lane(kernels, results, prepare, work):
    """Do @work on one kernel after the other; what this thread starts gets its priority."""
    for kernel in kernels:
        try:
            prepare(kernel)
            work(kernel)
        except Failure as failure:
            # The other kernels' results are still worth having.
            steps.say(f"error: {failure}", file=sys.stderr)
            results.add(kernel.name, "check", "preparation", FAIL, str(failure))


def check_commits(kernel, suites, results):
    try:
        if "queue" in suites:
            promises(kernel, results)
        if "lint" in suites:
            source.pristine(kernel)
            lint.check(kernel, results)
        if "build" in suites:
            commits.check(kernel, results)
    finally:
        room.after_commits(kernel)


def check_guests(kernel, suites, control, results):
    alone = [suite for suite in suites if suite in boots.SUITES]
    try:
        if alone or control:
            check_alone(kernel, alone, control, results)
        if "xen" in suites:
            xensuite.check(kernel, control, results)
    finally:
        room.after_guests(kernel)


def check_alone(kernel, suites, control, results):
    # IGT's other tests are measured against the control kernel, so either asks for both.
    control_suites = ["kunit", "kselftest", "igt"] if control else ["igt"] if "igt" in suites else []
    own = boots.own_files(kernel)
    if control_suites:
        # Before the objects that its kernel begins with.
        tree.make_control(config.queue(), kernel)
    image = build.kernel_image(kernel, "queue")
    programs = kselftest.programs(image, config.BUILD / "log" / f"kselftest-{kernel.name}.log")
    if "kselftest" in suites:
        for name, verdict, reason in kselftest.examples(image, own):
            results.add(kernel.name, "kselftest", name, verdict, reason)
    patched = boots.Queue(boots.Session(kernel, image, programs, "queue"), results)
    if suites:
        patched.run(suites)
    toggles_off(kernel, image, programs, own, "kselftest" in suites, control, results)
    if not control_suites:
        return
    plain = build.kernel_image(kernel, "control")
    # The programs are the woven tree's: only the kernel differs.
    unpatched = boots.Control(boots.Session(kernel, plain, programs, "control"), results, own,
                              {kunit.name(module) for module in image.test_modules})
    unpatched.run(control_suites, judged=control)
    if "igt" in suites:
        patched.compare(unpatched.igt)


def toggles_off(kernel, patched, programs, own, absent, control, results):
    """The woven kernel with its toggles off: with @absent nothing of the queue must be seen there,
    with @control the tests that pass on the unpatched kernel must fail."""
    refused = [entry for entry in passing_unpatched(kernel.name) if entry["toggle"]] if control else []
    programs = [dataclasses.replace(program, tests=absent if program.name.endswith(kselftest.ABSENT) else program.tests
                                    and bool(boots.matching(refused, kselftest.item(program).name)))
                for program in programs]
    suites = ["kselftest"] if any(program.tests for program in programs) else []
    suites += ["igt"] if boots.matching(refused, f"igt.{igt.JUDGE}") else []
    if not suites:
        return
    session = boots.Session(kernel, build.kernel_image(kernel, "off"), programs, "off")
    session.igt = (igt.JUDGE,)
    off = boots.Off(session, results, refused)
    if absent:
        off.no_code(own, patched)
    off.run(suites)


def weaver_tests(results):
    """The pytest suite, one result a test."""
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
                    why.get("message", "") if why is not None else "", float(case.get("time", 0)))
    if status and not any(result.verdict == FAIL for result in results.all):
        results.add("-", "queue", "pytest", FAIL, f"exit status {status}; see {log}")


def command(*args, env=None):
    """One of the queue's own commands; returns (status, all that it printed)."""
    status, stdout, stderr = steps.attempt([sys.executable, "-B", CLI, *args], cwd=config.ROOT, env=env)
    return status, stdout + stderr


def promises(kernel, results):
    """What the weaver promises, tried on the real queue and the real kernel."""
    for name, test in (("verify", verify), ("series-repeats", series_repeats), ("am-gives-tree", am_gives_tree),
                       ("refresh-leaves-no-diff", refresh_leaves_no_diff)):
        start = time.monotonic()
        reason = test(kernel)
        results.add(kernel.name, "queue", name, FAIL if reason else PASS, reason or "", time.monotonic() - start)


def verify(_kernel):
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


def am_gives_tree(kernel):
    """A user's clone, `make am`, and the tree that comes out; it is the clone that later moves from commit to commit."""
    git, _ = commits.checkout(kernel)
    git("checkout", "--quiet", "--force", "-B", "user", "base")
    try:
        user = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "User", "GIT_AUTHOR_EMAIL": "user@example.org",
                "GIT_COMMITTER_NAME": "User", "GIT_COMMITTER_EMAIL": "user@example.org"}
        status, output = command("am", "--kdir", str(git.directory), env=user)
        if status:
            return output.replace("\n", "; ")
        ours = gitcmd.own(kernel.tree, config.queue()).line("rev-parse", "HEAD^{tree}")
        theirs = git.line("rev-parse", "HEAD^{tree}")
        return None if ours == theirs else "`make am` gives another tree than `make tree`"
    finally:
        git.attempt("am", "--quit")
        git("checkout", "--quiet", "--force", "--detach", "base")


def refresh_leaves_no_diff(kernel):
    before = contents()
    status, output = command("refresh", "--kernel", kernel.name)
    if status:
        return output.replace("\n", "; ")
    after = contents()
    changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return f"`make refresh` right after `make tree` changes {', '.join(changed)}" if changed else None


def contents():
    """{path: bytes} of what the repository holds, whether committed yet or not."""
    listing = steps.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=config.ROOT)
    paths = [config.ROOT / name for name in listing.split("\0") if name]
    return {path: path.read_bytes() for path in paths if path.is_file()
            and not path.is_relative_to(config.BUILD) and not path.is_relative_to(config.OUT)}
