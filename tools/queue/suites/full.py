# SPDX-License-Identifier: GPL-2.0
"""`make check-full`: everything, in parts that are kept.

    queue      as in `make check`
    lint       with all of the kernel's drivers for Coccinelle, and planted misuse for sparse
    docs       the pages that the queue adds or changes, and their kernel-doc, by Sphinx (docs.py)
    topics     each topic alone, x86-64 and arm64, toggles on and off (alone.py)
    build      every commit, every toggle, x86-64 and arm64, gcc and on the newest kernel clang (commits.py)
    kunit, kselftest, igt, stress      in a guest, all of it on each kernel; with the toggles off nothing is there
    xen        under Xen on arm64, and for the oldest and newest on x86-64; and the unpatched kernel there (xensuite.py)
    clients    Debian's desktop programs find the ioctls, and with the toggles off or unpatched they do not (clients.py)
    control    the other tests on the unpatched kernel, where they have to fail

A part is one suite on one kernel. One that passed is not run again as long as its inputs are the same: the woven
series, the tools, the source. FORCE=1 runs it all the same. `make table` writes into TESTED.md what passed when.
"""

import collections
import dataclasses
import datetime
import hashlib
import json

from base import config, gitcmd, origin, steps
from lab import debian, room, source
from suites import alone, check, clients, commits, docs, igt, images, inguest, kselftest, kunit, lint, promises, readme, xensuite
from suites.pace import Pace
from suites.results import FAIL, Result, Results, passing_unpatched
from weave import mails, tree

SUITES = ("queue", "lint", "docs", "topics", "build", "kunit", "kselftest", "igt", "stress", "xen", "clients", "control")
PATCHES = ("queue", "lint", "docs", "topics", "build")        # what needs no guest
HERE = config.BUILD / "full"
WEAVER = "-"                                # in place of a kernel: the weaver's own tests
IRRELEVANT = ("pace.json", "TESTED.md")     # what `make table` writes of these runs


def main(kernels, suites, which="", force=False):
    whole = not suites and kernels == config.kernels()
    suites = check.select(suites, SUITES, "`make check` takes some of them")
    source.announce(kernels, which)
    debian.deps([*(debian.BROWSER if "queue" in suites else ()), *(debian.SPHINX if "docs" in suites else ())])
    room.look()
    results = Results(Pace("check-full", [kernel.name for kernel in kernels], suites, whole))
    Full(kernels, suites, which, force, results).run()
    return results.finish()


class Full:
    """One run of `make check-full`."""

    def __init__(self, kernels, suites, which, force, results):
        self.kernels, self.suites, self.force, self.results = kernels, suites, force, results
        self.prepare = check.Preparation(which, results)
        self.tools = tools_hash()       # of what runs: an edit from now on is for the next time
        self.inputs = {}        # of a kernel, when the first of its parts began
        self.readme = False     # whether the README's commands are to be run, after all else
        self.partly = set()     # names of kernels to whose source some patches do not apply
        # Whichever lane has the time takes the next of these.
        self.rest = collections.deque(kernels[::-1] if set(PATCHES) & set(suites) else [])

    def run(self):
        lanes = [self.guests] if set(self.suites) - set(PATCHES) else []
        lanes += [self.patches] if self.rest else []
        self.prepare.together(lanes)
        if "queue" in self.suites and self.readme:
            self.prepare.attempt(None, lambda _: readme.check(self.results, slow=True))
            self.save(WEAVER, ["queue"])

    def guests(self):
        for kernel in self.kernels:
            self.prepare.attempt(kernel, self.check_guests)
            self.prepare.attempt(kernel, self.check_xen)
            self.prepare.attempt(kernel, self.check_clients)
            self.prepare.attempt(kernel, room.after_guests)
        self.check_rest()

    def patches(self):
        check.aside()
        self.prepare.attempt(None, self.check_weaver)
        self.check_rest()

    def check_weaver(self, _kernel):
        if self.missing(WEAVER, ["queue"]):
            promises.weaver(self.results)
            self.readme = self.kernels == config.kernels()
            if not self.readme:
                self.save(WEAVER, ["queue"])

    def check_rest(self):
        while True:
            try:
                kernel = self.rest.popleft()
            except IndexError:
                return
            self.prepare.attempt(kernel, self.check_patches)

    # What is kept

    def missing(self, kernel, suites):
        """Those of @suites that have to be run; the results of the others are taken from when they were."""
        found = []
        now = self.inputs.setdefault(name_of(kernel), inputs(kernel, self.tools))
        for suite in [suite for suite in suites if suite in self.suites]:
            part = load(part_file(kernel, suite))
            if self.force or part is None or part["inputs"] != wanted(now, suite):
                found.append(suite)
            else:
                self.results.keep([Result(**result) for result in part["results"]], part["date"], part["commit"])
                steps.say(f"kept: {name_of(kernel)} {suite}, {len(part['results'])} results of {part['date']}")
        return found

    def save(self, kernel, suites):
        """Keep what passed of @suites, unless its inputs changed during the run or some patches were left out."""
        if name_of(kernel) in self.partly or not suites:
            return
        if inputs(kernel, self.tools) != self.inputs[name_of(kernel)]:
            steps.note(f"the queue or the source of {name_of(kernel)} changed during the run: {' '.join(suites)} not kept")
            return
        for suite in suites:
            found = [result for result in self.results.all if (result.kernel, result.suite) == (name_of(kernel), suite)]
            if not found or any(result.verdict == FAIL for result in found):
                continue
            HERE.mkdir(parents=True, exist_ok=True)
            version = "" if kernel == WEAVER else origin.recorded(config.queue(), kernel)[1]
            part_file(kernel, suite).write_text(json.dumps({
                "inputs": wanted(self.inputs[name_of(kernel)], suite), "date": datetime.date.today().isoformat(), "source": version,
                "commit": gitcmd.own(config.ROOT, config.queue()).attempt("describe", "--always", "--dirty")[1].strip(),
                "results": [dataclasses.asdict(result) for result in found]}, indent=1) + "\n", encoding="utf-8")

    # The parts

    def made(self, kernel):
        made = self.prepare(kernel)
        if not made.whole:
            self.partly.add(kernel.name)
        return made

    def check_patches(self, kernel):
        made = self.made(kernel)
        try:
            self.check_tree(kernel, made)
        finally:
            room.after_commits(kernel)

    def check_tree(self, kernel, made):
        suites = self.missing(kernel, PATCHES)
        if "queue" in suites:
            promises.check(kernel, made, self.results)
            self.save(kernel, ["queue"])
        if "lint" in suites:
            with self.results.pace.timed("lint", kernel):
                source.restore_files(kernel)
                lint.Lint(kernel, self.results).run()
            self.save(kernel, ["lint"])
        if "docs" in suites:
            with self.results.pace.timed("documentation", kernel):
                source.restore_files(kernel)
                docs.check(kernel, self.results)
            self.save(kernel, ["docs"])
        if "topics" in suites:
            with self.results.pace.timed("each topic", kernel):
                alone.check(kernel, self.results)
            self.save(kernel, ["topics"])
        if "build" in suites:
            with self.results.pace.timed("every commit", kernel):
                commits.check(kernel, self.results)
            self.save(kernel, ["build"])

    def check_guests(self, kernel):
        self.made(kernel)
        alone = self.missing(kernel, [*inguest.SUITES, "control"])
        if alone:
            with self.results.pace.timed("guests", kernel):
                check_alone(kernel, [suite for suite in alone if suite in inguest.SUITES], "control" in alone, self.results,
                            lambda *suites: self.save(kernel, [suite for suite in suites if suite in alone]))

    def check_xen(self, kernel):
        self.made(kernel)
        if self.missing(kernel, ["xen"]):
            with self.results.pace.timed("guests of Xen", kernel):
                xensuite.check(kernel, self.results)
            self.save(kernel, ["xen"])

    def check_clients(self, kernel):
        self.made(kernel)
        if self.missing(kernel, ["clients"]):
            with self.results.pace.timed("desktop programs", kernel):
                clients.check(kernel, self.results)
            self.save(kernel, ["clients"])


def name_of(kernel):
    return kernel if kernel == WEAVER else kernel.name


def part_file(kernel, suite):
    return HERE / f"{name_of(kernel)} {suite}.json"


def load(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def tools_hash():
    """A hash of all that is in tools/queue."""
    return files_hash(path for path in promises.contents() if path.is_relative_to(config.HERE))


def files_hash(paths):
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if path.name not in IRRELEVANT):
        digest.update(str(path.relative_to(config.ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def inputs(kernel, tools):
    """A hash of what a part of @kernel depends on, the @tools among it: of the weaver's own tests that is the whole repository."""
    digest = hashlib.sha256(tools.encode())
    if kernel == WEAVER:
        digest.update(files_hash(promises.contents()).encode())
    else:
        queue = config.queue()
        digest.update(gitcmd.own(kernel.pristine, queue).attempt("rev-parse", "base^{tree}")[1].encode() if kernel.pristine.exists() else b"")
        for woven in mails.woven(queue, kernel):
            digest.update(woven.name.encode() + b"\0" + woven.data)
    return digest.hexdigest()


def wanted(state, suite):
    """What has to be the same for a part of a kernel, whose inputs() are @state: of docs the queue's own pages, too."""
    return f"{state} {files_hash(docs.texts())}" if suite == "docs" else state


def check_alone(kernel, suites, control, results, save):
    """The suites that need no Xen; calls @save of those that are complete."""
    # IGT's other tests are measured against the control kernel, so either asks for both.
    control_suites = ["kunit", "kselftest", "igt"] if control else ["igt"] if "igt" in suites else []
    own = inguest.own_files(kernel)
    image = images.kernel_image(kernel, "queue")
    programs = kselftest.programs(image, config.BUILD / "log" / f"kselftest-{kernel.name}.log")
    if "kselftest" in suites:
        for name, verdict, reason in kselftest.examples(image, own):
            results.add(kernel.name, "kselftest", name, verdict, reason)
    patched = inguest.Patched(inguest.GuestSession(kernel, image, programs, "queue"), results)
    if suites:
        patched.run(suites)
    save("kunit", "stress")
    toggles_off(kernel, image, programs, own, "kselftest" in suites, control, results)
    save("kselftest")
    if not control_suites:
        return
    tree.make_control(config.queue(), kernel)
    plain = images.kernel_image(kernel, "control")
    # The programs are the woven tree's: only the kernel differs.
    unpatched = inguest.Unpatched(inguest.GuestSession(kernel, plain, programs, "control"), results, own,
                              {kunit.name(module) for module in image.test_modules})
    unpatched.run(control_suites, judged=control)
    if "igt" in suites:
        patched.compare(unpatched.igt)
    save("igt", "control")


def toggles_off(kernel, patched, programs, own, absent, control, results):
    """The woven kernel with its toggles off: with @absent nothing of the queue must be seen there,
    with @control the tests that pass on the unpatched kernel must fail."""
    refused = [entry for entry in passing_unpatched(kernel.name) if entry["toggle"]] if control else []
    programs = [dataclasses.replace(program, tests=absent if program.name.endswith(kselftest.ABSENT) else program.tests
                                    and bool(inguest.matching(refused, kselftest.item(program).name)))
                for program in programs]
    suites = ["kselftest"] if any(program.tests for program in programs) else []
    suites += ["igt"] if inguest.matching(refused, f"igt.{igt.JUDGE}") else []
    if not suites:
        return
    session = inguest.GuestSession(kernel, images.kernel_image(kernel, "off"), programs, "off")
    session.igt = (igt.JUDGE,)
    off = inguest.Off(session, results, refused)
    if absent:
        off.no_code(own, patched)
    off.run(suites)
