# SPDX-License-Identifier: GPL-2.0
"""The suites that run in a guest: kunit, kselftest, stress, igt, and all of them on the control kernel.

One boot serves all suites of a kernel. A test that crashes the guest has failed (on the control
kernel: done what it should), and the rest of the plan continues in a new guest.
"""

import errno
import re
from fnmatch import fnmatchcase

from base import config, steps
from lab import build, guest
from suites import igt, kselftest, kunit
from suites.results import FAIL, PASS, SKIP, UNPATCHED, passing_unpatched
from weave import mails

SUITES = ("kunit", "kselftest", "igt", "stress")
DMA_BUF = "drivers/dma-buf/dma-buf.o"
# Formats of the kselftest harness and of IGT.
ENOTTY = re.compile(rf"\(-?{errno.ENOTTY}\)|errno: {errno.ENOTTY},")
REPEATS = 5                 # of boots that an emulator's fault ended, see guest.Boot.fault()
CONTROL_SECONDS = 100       # limit of a program on the unpatched kernel, where it may hang forever
LEAKER = "kmemleak-test.ko"         # the kernel's own module that leaks on purpose


class Session:
    """One kernel's image and programs, and the results of its boots. Each kind defines its plan and how it boots."""

    looks_for_leaks = True

    def __init__(self, kernel, image, programs, flavour):
        self.kernel = kernel
        self.image = image
        self.flavour = flavour
        self.programs = {self.item(program).name: program for program in programs if program.tests and self.runs(program.name)}
        self.boots = []
        self.down = {}          # item -> how it crashed the guest
        self.log = ""           # the log of the result that comes next

    def item(self, program):
        """The plan's line for a program."""
        return kselftest.item(program)

    def runs(self, name):       # pylint: disable=unused-argument
        """Whether the program of that name is for this kind of guest."""
        return True

    def plan(self, suites):
        raise NotImplementedError

    def suite(self, item):
        """The suite to which an item of the plan belongs."""
        raise NotImplementedError

    def files(self, suites):
        """{path in the guest: path here}"""
        raise NotImplementedError

    def boot(self, name, files, plan, ended):
        raise NotImplementedError

    def run(self, suites, ended):
        """Boot as often as needed to complete the plan; returns what stopped it, or None."""
        def look(boot, item):
            self.log = boot.dir / "out" / f"{item}.log"
            ended(boot, item)

        rest, files, repeats = self.plan(suites), self.files(suites), REPEATS
        while rest:
            number = len(self.boots) + 1
            with steps.step(f"booting {self.kernel.name} {self.flavour}: {len(rest)} items"):
                boot = self.boot(f"{self.kernel.name}-{self.flavour}-{number}", files, rest, look)
            self.boots.append(boot)
            self.log = boot.dir / "console.log"
            if not boot.error:
                return None
            done = [item.name for item in rest if item.name in boot.status]
            fault = boot.fault()
            if fault and repeats:
                repeats -= 1
                steps.say(f"note: the emulated machine's doing, so the guest is started again: {fault.splitlines()[0]}")
            elif not boot.running:
                return boot.error       # not caused by a test: continuing would not help
            else:
                self.down[boot.running] = cause(boot) or boot.error
                look(boot, boot.running)
                done.append(boot.running)
            rest = [item for item in rest if item.name not in done]
        return None

    @property
    def last(self):
        return self.boots[-1]


class GuestSession(Session):
    """A kernel without Xen, with its test modules and IGT."""

    def __init__(self, kernel, image, programs, flavour):
        self.seconds = None     # limit of a program, if not the usual one
        super().__init__(kernel, image, programs, flavour)
        self.modules = {kunit.item(module).name: module for module in image.test_modules}
        self.igt = igt.TESTS
        self.leaker = None      # a module to load last, whose leaks have to be found

    def item(self, program):
        return kselftest.item(program, self.seconds)

    def plan(self, suites):
        items = []
        if "kunit" in suites:
            items += [kunit.item(module) for module in self.modules.values()]
        for suite in ("kselftest", "stress"):
            if suite in suites:
                items += [self.item(program) for program in self.programs.values()
                          if program.stress == (suite == "stress")]
        if "igt" in suites:
            items.append(igt.item())
        if self.leaker:
            items.append(guest.Item("planted.leak", 60, f"insmod /test/{LEAKER}"))
        return items

    def suite(self, item):
        if item in self.programs:
            return "stress" if self.programs[item].stress else "kselftest"
        return item.partition(".")[0]

    def files(self, suites):
        chosen = {}
        if "kunit" in suites:
            chosen.update(kunit.files(self.modules.values()))
        if {"kselftest", "stress"} & set(suites):
            chosen.update(kselftest.files(self.programs.values(), self.image))
        if "igt" in suites:
            chosen.update(igt.files(self.igt))
        if self.leaker:
            chosen[f"test/{LEAKER}"] = self.leaker
        return chosen

    def boot(self, name, files, plan, ended):
        return guest.run(name, self.image.bootable, files, plan, ended=ended)


def cause(boot):
    """The first line on the console that explains why a guest ended, without its time stamp."""
    lines = [line for item, line in boot.splats() if item in (None, boot.running)]
    # A plain "kernel BUG at" says more than the trap it ends in.
    lines.sort(key=lambda line: "kernel BUG at" not in line and "KASAN" not in line)
    return lines[0].partition("] ")[2] if lines else ""


class Patched:
    """The patched kernel: every test has to pass."""

    def __init__(self, session, results):
        self.session = session
        self.results = results
        self.igt = {}

    def add(self, suite, test, verdict, reason="", seconds=0.0):
        self.results.add(self.session.kernel.name, suite, test, verdict, reason, seconds, self.session.log)

    def run(self, suites):
        session = self.session
        error = session.run(suites, self.ended)
        ran = {session.suite(item.name) for item in session.plan(suites)}
        for suite in suites:
            if suite not in ran and suite != "stress" and not config.queue().features:
                self.add(suite, "present", FAIL, "the woven tree has no test of this suite")
        for suite in sorted(ran, key=SUITES.index):
            self.close(suite, error)

    def ended(self, boot, item):
        suite, down = self.session.suite(item), self.session.down.get(item)
        if suite == "kunit":
            self.kunit(boot, item, down)
        elif suite == "igt":
            self.igt = igt.results(boot)
            igt.keep(boot, self.igt, f"igt-{self.session.kernel.name}-queue")
            self.judge_igt(down or timeout(boot, item))
        else:
            self.kselftest(boot, item, suite, down)

    def kunit(self, boot, item, down):
        module = item.removeprefix("kunit.")
        if down:
            self.add("kunit", f"{module}.ends", FAIL, down)
            return
        cases = kunit.parse(boot.log(item), boot.dir / f"{item}.tap")
        for test, verdict, reason in cases:
            self.add("kunit", test, verdict, reason, boot.seconds[item] / len(cases))
        if not cases:
            self.add("kunit", f"{module}.ends", FAIL, f"it ran no case; see {boot.dir}/out/{item}.log")
        if boot.status[item]:
            self.add("kunit", f"{module}.unloads", FAIL,
                     timeout(boot, item) or f"loading or unloading it gave status {boot.status[item]}")

    def kselftest(self, boot, item, suite, down):
        program = self.session.programs[item]
        reason = down or timeout(boot, item)
        tap = kselftest.parse(boot.log(item), boot.status.get(item, 0))
        took = boot.seconds.get(item, 0) / (len(tap.tests) or 1)
        if not reason or tap.tests and tap.tests[0][0]:
            for name, verdict, why in tap.tests:
                self.add(suite, kselftest.test_id(program.name, name), verdict, why, took)
        for why in [reason] if reason else tap.errors:
            self.add(suite, f"{program.name}.ends", FAIL, why)

    def judge_igt(self, down):
        if down or not self.igt:
            self.add("igt", "igt_runner", FAIL, down or "it left no results")
        judged = [test for test in self.igt if test.startswith(igt.JUDGE + ".")]
        for test in judged:
            result, text, took = self.igt[test]
            self.add("igt", test, PASS if result == "pass" else FAIL,
                     "" if result == "pass" else f"{result}: {igt.reason(text)}", took)
        if len(judged) != igt.SUBTESTS:
            self.add("igt", f"{igt.JUDGE}.count", FAIL, f"{len(judged)} subtests of {igt.SUBTESTS} were run")

    def compare(self, control):
        """Compare the other IGT tests with @control, the results on the control kernel: they must not be worse."""
        for test, verdict, reason, took in igt.compared(self.igt, control):
            self.add("igt", test, verdict, reason, took)

    def close(self, suite, error, covered=()):
        """Two more tests of a suite: the console shows no fault, and nothing has leaked.

        @covered: the suites whose items are checked, if more than this one.
        """
        session = self.session
        if error:
            self.add(suite, "guest", FAIL, error)
        lines = [(item, line) for boot in session.boots for item, line in boot.splats()
                 if item is None or session.suite(item) in (covered or (suite,))]
        first = "; ".join(f"{item or 'boot'}: {line}" for item, line in lines[:1])
        self.add(suite, "console-clean", FAIL if lines else PASS,
                 f"{len(lines)} lines, first {first}; see {session.last.dir}/console.log" if lines else "")
        if not session.looks_for_leaks:
            return
        # The leaks of a guest that crashed are lost; that test has failed already.
        found = [boot.leaks for boot in session.boots if boot.leaks is not None]
        leaks = "".join(found).strip()
        self.add(suite, "kmemleak", PASS if found and not leaks else FAIL,
                 leaks.splitlines()[0] if leaks else "" if found else "no guest came to the end of its plan")


class Off(Patched):
    """The patched kernel with its toggles off: it contains none of the queue's code, and user space sees that.

    The tests of @refused, entries of control.toml, have to fail there because the ioctls are missing.
    """

    def __init__(self, session, results, refused=()):
        super().__init__(session, results)
        self.refused = refused
        self.ours = {item for item in session.programs if not matching(refused, item)}

    def add(self, suite, test, verdict, reason="", seconds=0.0):
        super().add(suite, f"toggles-off.{test}", verdict, reason, seconds)

    def no_code(self, own, patched):
        """Check that none of the queue's @own sources was compiled, and that nothing else makes sync_files of a dma-buf.

        The same check of the @patched image has to find them.
        """
        objects = sorted(path[:-1] + "o" for path in own if path.startswith("drivers/") and path.endswith(".c"))
        outside = [path for path in objects if not path.startswith(build.TOGGLED)]
        if outside:
            self.add("kselftest", "no-code", FAIL, f"{' '.join(outside)}: not in a place that is looked at, see build.TOGGLED")
            return
        found = code(self.session.image.obj, objects)
        if not code(patched.obj, objects):
            self.add("kselftest", "no-code", FAIL, "nor is there any with the toggles on: this test looks in the wrong place")
        else:
            self.add("kselftest", "no-code", FAIL if found else PASS, f"compiled: {' '.join(found)}" if found else "")

    def run(self, suites):
        error = self.session.run(suites, self.ended)
        self.close("kselftest" if self.ours else "control", error, suites)

    def ended(self, boot, item):
        if item in self.ours:
            super().ended(boot, item)
            return
        name, tests, text = verdicts(self.session, boot, item)
        down, took = self.session.down.get(item), boot.seconds.get(item, 0)
        failed = [test for test, verdict in tests if verdict == FAIL]
        if down:
            self.add("control", name, FAIL, f"it brought the kernel down: {down}", took)
        elif not failed:
            self.add("control", name, FAIL, f"none of {len(tests)} tests fails without the ioctls, so they test nothing", took)
        elif not ENOTTY.search(text):
            self.add("control", name, FAIL, f"{len(failed)} of {len(tests)} tests failed, but none with ENOTTY", took)
        else:
            self.add("control", name, PASS, f"{len(failed)} of {len(tests)} tests failed with ENOTTY, as they should", took)


def matching(entries, name):
    """The first of control.toml's @entries for a test of that name, or None."""
    return next((entry for entry in entries if fnmatchcase(name, entry["test"])), None)


def code(obj, objects):
    """Which of @objects were built in @obj; dma-buf.o counts if it makes sync_files itself."""
    found = [path for path in objects if (obj / path).exists()]
    symbols = steps.run(["nm", "--undefined-only", obj / DMA_BUF], what=f"reading {obj / DMA_BUF}").split()
    return [*found, DMA_BUF] if "sync_file_create" in symbols else found


def verdicts(session, boot, item):
    """(name in the suite control, (test, verdict) of each test, the output) of an @item that has ended."""
    suite = session.suite(item)
    if suite == "igt":
        judged = {test: result for test, result in igt.results(boot).items() if test.startswith(igt.JUDGE + ".")}
        return (f"igt.{igt.JUDGE}", [(test, PASS if result[0] == "pass" else FAIL) for test, result in judged.items()],
                "".join(result[1] for result in judged.values()))
    if suite == "kunit":
        if item in session.down:
            return item, [], ""
        return item, [case[:2] for case in kunit.parse(boot.log(item), boot.dir / f"{item}.tap")], boot.log(item)
    tap = kselftest.parse(boot.log(item), boot.status.get(item, 0))
    return item, [case[:2] for case in tap.tests], boot.log(item)


class Unpatched:
    """The unpatched kernel, where a test has to fail: a test that passes there tests nothing."""

    def __init__(self, session, results, own, expected_modules):
        self.session = session
        self.results = results
        self.own = own                          # files that the queue adds
        self.expected_modules = {name for name in expected_modules if self.brought(name)}
        self.known = passing_unpatched(session.kernel.name)
        self.met = []           # the entries that were met
        self.igt = {}
        self.judged = True

    def brought(self, module):
        """Whether that KUnit module is the queue's: kernels have other modules."""
        return kunit.source_of(module) in self.own

    def run(self, suites, judged):
        """Run @suites; unless @judged, this only collects IGT's results for comparison."""
        self.judged = judged
        self.session.seconds = CONTROL_SECONDS
        if judged:
            self.session.leaker = next(path for path in self.session.image.modules if path.name == LEAKER)
        # One width is enough: the 32-bit programs have the same sources.
        self.session.programs = {name: program for name, program in self.session.programs.items()
                                 if program.source in self.own and not program.stress
                                 and not program.name.startswith("compat.")}
        self.session.modules = {name: module for name, module in self.session.modules.items()
                                if self.brought(kunit.name(module))}
        error = self.session.run(suites, self.ended)
        if not judged:
            return
        if error:
            self.add("guest", FAIL, error)
        for module in sorted(self.expected_modules - {kunit.name(path) for path in self.session.modules.values()}):
            self.add(f"kunit.{module}", PASS, "absent")
        for entry in self.known:
            if entry not in self.met:
                self.add(entry["test"], FAIL, f"{UNPATCHED.name} names it, but no such test was run")
        found = "".join(boot.leaks or "" for boot in self.session.boots).count("unreferenced object")
        self.add("planted.leak", PASS if found else FAIL,
                 f"kmemleak found {found} planted leaks" if found else f"kmemleak did not find what {LEAKER} leaks")

    def add(self, test, verdict, reason="", seconds=0.0):
        self.results.add(self.session.kernel.name, "control", test, verdict, reason, seconds, self.session.log)

    def ended(self, boot, item):
        suite, down = self.session.suite(item), self.session.down.get(item)
        if suite == "planted":
            return      # judged at the end
        if suite == "igt":
            self.igt = igt.results(boot)
            igt.keep(boot, self.igt, f"igt-{self.session.kernel.name}-control")
        if not self.judged:
            return
        name, tests, _ = verdicts(self.session, boot, item)
        splats = [line for where, line in boot.splats() if where == item]
        self.judge(name, tests, down, splats, boot.seconds.get(item, 0))

    def judge(self, name, tests, down, splats, took):
        failed = [test for test, verdict in tests if verdict == FAIL]
        known = matching(self.known, name)
        self.met += [known] if known else []
        if down:
            self.add(name, PASS, f"it brought the kernel down, as it should: {down}", took)
        elif failed:
            self.add(name, PASS, f"{len(failed)} of {len(tests)} tests failed, as they should", took)
        elif splats:
            self.add(name, PASS, f"the kernel complained, as it should: {splats[0].partition('] ')[2]}", took)
        elif not tests:
            self.add(name, FAIL, "no test was run", took)
        elif all(verdict == SKIP for _, verdict in tests):
            self.add(name, FAIL, "all tests skipped, which shows nothing", took)
        elif known:
            self.add(name, PASS, f"it passes without the patches as well: {known['reason']}", took)
        else:
            self.add(name, FAIL, f"all {len(tests)} tests pass without the patches, so they test nothing; "
                     f"if that is right, say why in {UNPATCHED.name}", took)


def timeout(boot, item):
    """The reason why the guest killed an item, or ""."""
    return "it did not end in its time" if boot.status.get(item) in (137, 143) else ""


def own_files(kernel):
    """Paths of the new files that the queue adds to @kernel."""
    return {path for woven in mails.woven(config.queue(), kernel) for path in woven.patch.new}
