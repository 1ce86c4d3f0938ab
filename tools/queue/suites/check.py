# SPDX-License-Identifier: GPL-2.0
"""`make check`: finds in half an hour whether something is broken; `make check-full` runs everything (full.py).

    queue      the weaver's own tests, and its promises on the real queue (promises.py)
    lint       checkpatch, codespell, sparse, kernel-doc, and Coccinelle on the touched files (lint.py)
    build      the last commit, x86-64 and arm64, toggles on and off (tip.py)
    kunit, kselftest, igt, stress      in a guest (inguest.py)
    xen        gntdev's selftests in a guest of Xen, on arm64 (xensuite.py)

The oldest and the newest kernel have KASAN, the 32-bit programs and the storms of `stress`; the others have lockdep
and the other debugging options. Xen is started with the oldest kernel only. Four lanes share the processors: one makes
trees and builds kernels for guests, two boot them, one checks patches and compiles the last commits. The lanes
without a guest have lower priority, so that they hardly disturb the guests' timing.
"""

import collections
import concurrent.futures
import os
import sys
import threading
import traceback

from base import config, steps
from base.steps import Failure
from lab import debian, room, source
from suites import igt, images, inguest, kselftest, lint, promises, readme, tip, xensuite
from suites.pace import Pace
from suites.results import FAIL, Results
from weave import series, tree

SUITES = ("queue", "lint", "build", "kunit", "kselftest", "igt", "stress", "xen")
GUEST = ("kunit", "kselftest", "igt", "stress")
TOPICS = {"igt": "sync-file", "stress": "sync-file", "xen": "gntdev"}      # suites that test only one topic
BESIDE = 10     # the niceness of work that runs beside the guests


def main(kernels, suites, which=""):
    whole = not suites and kernels == config.kernels()
    suites = of_features(select(suites, SUITES, "`make check-full` has control, and the whole of the others"))
    source.announce(kernels, which)
    debian.deps()
    room.look()
    results = Results(Pace("check", [kernel.name for kernel in kernels], suites, whole))
    Check(kernels, suites, which, results, storms=not whole).run()
    return results.finish()


def select(suites, known, hint):
    unknown = [suite for suite in suites if suite not in known]
    if unknown:
        raise Failure(f"no suite {' '.join(unknown)} here; there is: {' '.join(known)} ({hint})")
    return [suite for suite in known if suite in suites or not suites]


def of_features(suites):
    """Those of @suites that test something of the topics that FEATURES selects."""
    names = series.chosen(config.queue())
    other = [suite for suite, topic in TOPICS.items() if topic not in names and suite in suites]
    if other:
        steps.note(f"no {' '.join(other)}: {' '.join(names)} have nothing that it tests")
    return [suite for suite in suites if suite not in other]


class Check:
    """One run of `make check`; with @storms (on request) each kernel runs the suite `stress`."""

    def __init__(self, kernels, suites, which, results, storms=False):
        self.suites, self.results, self.storms = suites, results, storms
        # The README's commands are those for all kernels and topics.
        self.whole = kernels == config.kernels() and not which and not config.queue().features
        self.prepare = Preparation(which, results)
        # The longest runs come first, so that the last guest is a short one.
        self.kernels = sorted(kernels, key=lambda kernel: not thorough(kernel))
        self.guest = [suite for suite in GUEST if suite in suites]
        self.built = {kernel.name: concurrent.futures.Future() for kernel in self.kernels}
        self.xen = concurrent.futures.Future()
        # In the order in which their kernels are built.
        self.guests = collections.deque()
        for kernel in self.kernels:
            if self.guest:
                self.guests.append((kernel, self.boot_guest))
            if "xen" in self.suites and kernel == self.kernels[0]:
                self.guests.append((kernel, self.boot_xen))

    def run(self):
        lanes = [self.build_kernels, self.boot_guests, self.boot_guests] if self.guests else []
        lanes += [self.check_patches] if {"queue", "lint", "build"} & set(self.suites) else []
        self.prepare.together(lanes)
        if self.whole and "queue" in self.suites:
            self.prepare.attempt(None, lambda _: readme.check(self.results))

    def build_kernels(self):
        aside()
        for kernel in self.kernels:
            if self.guest:
                self.give(self.built[kernel.name], self.for_guest, kernel)
            if "xen" in self.suites and kernel == self.kernels[0]:
                self.give(self.xen, self.for_xen, kernel)

    @staticmethod
    def give(future, work, kernel):
        try:
            future.set_result(work(kernel))
        except BaseException as problem:    # raised again in the lane that waits for the result
            future.set_exception(problem)

    def for_guest(self, kernel):
        self.prepare(kernel)
        with self.results.pace.timed("guest's kernel", kernel):
            image = images.kernel_image(kernel, "queue", "guest" if thorough(kernel) else "light")
            programs = kselftest.programs(image, config.BUILD / "log" / f"kselftest-{kernel.name}.log",
                                          widths=None if thorough(kernel) else kselftest.NATIVE)
            if "igt" in self.suites:
                igt.root()
        return image, programs

    def for_xen(self, kernel):
        self.prepare(kernel)
        with self.results.pace.timed("Xen's kernel", kernel):
            image = images.kernel_image(kernel, "queue", "arm64")
            return image, xensuite.programs(image, kernel.name)

    def boot_guests(self):
        while self.guests:
            try:
                kernel, boot = self.guests.popleft()
            except IndexError:
                return      # the other lane was quicker
            self.prepare.attempt(kernel, boot)

    def boot_guest(self, kernel):
        image, programs = self.built[kernel.name].result()
        suites = [suite for suite in self.guest if suite != "stress" or thorough(kernel) or self.storms]
        try:
            with self.results.pace.timed("guest", kernel):
                if "kselftest" in suites:
                    for name, verdict, reason in kselftest.examples(image, inguest.own_files(kernel)):
                        self.results.add(kernel.name, "kselftest", name, verdict, reason)
                session = inguest.GuestSession(kernel, image, programs, "queue")
                session.igt = (igt.JUDGE,)
                inguest.Patched(session, self.results).run(suites)
        finally:
            room.give_back([image.obj])

    def boot_xen(self, kernel):
        image, programs = self.xen.result()
        try:
            with self.results.pace.timed("guest of Xen", kernel):
                xensuite.core(kernel, image, programs, self.results)
        finally:
            room.give_back([image.obj])

    def check_patches(self):
        aside()
        if "queue" in self.suites:
            self.prepare.attempt(None, lambda _: promises.weaver(self.results))
        # This lane prepares the newest kernel while the other builds the oldest.
        for kernel in self.kernels[1:] + self.kernels[:1]:
            self.prepare.attempt(kernel, self.check_kernel)

    def check_kernel(self, kernel):
        made = self.prepare(kernel)
        try:
            self.check_tree(kernel, made)
        finally:
            room.after_commits(kernel)

    def check_tree(self, kernel, made):
        if "queue" in self.suites:
            promises.check(kernel, made, self.results)
        sparse = None
        if "lint" in self.suites:
            with self.results.pace.timed("lint", kernel):
                source.restore_files(kernel)
                sparse = lint.Lint(kernel, self.results)
                sparse.run_short()
        if sparse or "build" in self.suites:
            tip.check(kernel, self.suites, self.results, sparse)


def thorough(kernel):
    return kernel in (config.kernels()[0], config.kernels()[-1])


def aside():
    """Give this thread, and what it starts, a lower priority than the guests."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + BESIDE)


class Preparation:
    """Makes the tree of each kernel once, when it is first used; each patch that is left out is recorded as FAIL."""

    def __init__(self, which, results):
        self.which = which
        self.results = results
        self.lock = threading.Lock()
        self.done = {}      # kernel's name: the tree.Stack, or the Failure
        self.said = set()

    def __call__(self, kernel):
        with self.lock:
            if kernel.name not in self.done:
                self.done[kernel.name] = self.prepare(kernel)
        if isinstance(self.done[kernel.name], Failure):
            raise self.done[kernel.name]
        return self.done[kernel.name]

    def prepare(self, kernel):
        with self.results.pace.timed("source and tree", kernel):
            try:
                source.get(kernel, self.which)
                made = tree.make(config.queue(), kernel)
                room.after_preparing(kernel)
            except Failure as failure:
                return failure
        for path, why in made.left.items():
            self.results.add(kernel.name, "queue", f"applies.{path}", FAIL, why)
        return made

    def together(self, lanes):
        """Run all @lanes in parallel; if one fails, the others continue."""
        with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
            for done in [pool.submit(self.attempt, None, lambda _, lane=lane: lane()) for lane in lanes]:
                done.result()

    def attempt(self, kernel, work):
        """Do @work on @kernel. If it fails, for whatever reason, the rest of the run continues."""
        try:
            work(kernel)
        except Exception as problem:    # pylint: disable=broad-except
            text = str(problem) if isinstance(problem, Failure) else "".join(traceback.format_exception(problem))
            name = kernel.name if kernel else "-"
            with self.lock:
                new = (name, text) not in self.said     # several lanes may report the same failure
                self.said.add((name, text))
            if new:
                steps.say(f"error: {text}", file=sys.stderr)
                reason = text.strip().replace("\n", "; ") if isinstance(problem, Failure) else f"{type(problem).__name__}: {problem}"
                self.results.add(name, "check", "preparation", FAIL, reason)
