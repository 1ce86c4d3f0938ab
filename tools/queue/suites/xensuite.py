# SPDX-License-Identifier: GPL-2.0
"""The suite `xen`: the selftests of drivers/xen in the first domain of a real Xen.

On arm64, the target platform, each kernel has three second domains beside it, whose pages the tests
of programs named *_domains map: one serves, one is destroyed, one never answers. On x86-64 the
oldest and the newest kernel run as a PVH first domain, the oldest also as a PV one, where all calls
are refused (*_pv). The unpatched kernel has to fail the same tests on arm64 (`control.`).
"""

from dataclasses import replace

from base import config
from lab import xen
from suites import images, inguest, kselftest
from suites.results import FAIL, PASS
from weave import tree

# Tests of ioctls that gntdev already had: those that the queue fixes, and those that do not change.
FIXED = ("stock.export_two_waiters",)
AS_BEFORE = ("stock.export_and_wait", "stock.export_waiter_with_signals", "stock.import")
INVERSION = "possible circular locking"     # lockdep's message about gntdev, see stock.map_while_mapping
PEER = "gntdev_dmabuf_peer"
DEMO = "gntdev_dmabuf_demo"     # a demonstration, not a test: for `make run DEMO=xen`
PEERS = ("serve", "victim", "silent")       # what the second domains do, domids 1, 2, 3
DOMAINS, PV = "_domains", "_pv"             # suffixes of programs that need these
SAMPLE = "gntdev_map_refs"                  # maps its own grants, which does not work on x86-64
SECONDS = 1800          # ten thousand cycles, with all debugging options on
CORE_CYCLES = 200


class XenSession(inguest.Session):
    """One kernel as a first domain of the kind @mode: "arm64", "pvh" or "pv"; @cycles: see gntdev_dmabuf.c."""

    def __init__(self, kernel, image, programs, flavour, mode, cycles=None):
        self.mode = mode
        self.cycles = cycles
        self.all = programs
        super().__init__(kernel, image, programs, f"{flavour}-{mode}")

    @property
    def looks_for_leaks(self):
        """A PV kernel has no debugging options: see xen-pv.config."""
        return self.mode != "pv"

    def runs(self, name):
        if name.endswith(PV) or self.mode == "pv":
            return name.endswith(PV) and self.mode == "pv"
        return self.mode == "arm64" or not name.endswith((DOMAINS, SAMPLE))

    def item(self, program):
        item = kselftest.item(program, SECONDS)
        return replace(item, command=f"export GNTDEV_DMABUF_CYCLES={self.cycles}; {item.command}") if self.cycles else item

    def plan(self, _suites):
        # Those with second domains last: they end with one domain less.
        return [self.item(program) for program in sorted(self.programs.values(), key=lambda p: p.name.endswith(DOMAINS))]

    def files(self, _suites):
        return kselftest.files(self.all, self.image)

    def suite(self, item):
        return "xen"

    def boot(self, name, files, plan, ended):
        peers = [f"/test/kselftest/{PEER} {mode}" for mode in PEERS] if self.mode == "arm64" else []
        return xen.run(name, self.image, files, plan, peers=peers, mode=self.mode, ended=ended, leaks=self.looks_for_leaks)


class XenPatched(inguest.Patched):
    """The patched kernel: every test has to pass."""

    def add(self, suite, test, verdict, reason="", seconds=0.0):
        super().add(suite, f"{self.session.mode}.{test}", verdict, reason, seconds)

    def run(self):
        if not self.session.programs:
            self.add("xen", "present", FAIL, f"the woven tree has no test for {self.session.mode}")
            return
        error = self.session.run(["xen"], self.ended)
        self.close("xen", error)


class XenUnpatched(inguest.Unpatched):
    """The unpatched kernel on Xen: each program has to fail there, and to report ENOTTY for the new ioctls."""

    def __init__(self, session, results, own):
        super().__init__(session, results, own, ())
        self.session.programs = {name: program for name, program in session.programs.items() if program.source in own}
        self.refused = []
        self.stock = {}         # test of an older ioctl -> verdict

    def run(self):
        error = self.session.run(["xen"], self.ended)
        if error:
            self.add("guest", FAIL, error)
        self.judge_stock()
        self.add("enotty", PASS if self.refused else FAIL,
                 f"from {' '.join(self.refused)}" if self.refused else "no test met ENOTTY on the unpatched kernel")

    def judge_stock(self):
        """Judge the older ioctls: each fault that has a patch is there, and what must not change was the same before."""
        for tests, expected in ((FIXED, FAIL), (AS_BEFORE, PASS)):
            for test in tests:
                met = self.stock.get(test, "not run")
                self.add(test, PASS if met == expected else FAIL, f"{met} on the unpatched kernel, {expected} is due")
        found = [line for boot in self.session.boots for _, line in boot.splats() if INVERSION in line]
        self.add("stock.map_while_mapping", PASS if found else FAIL,
                 "lockdep complains, as it should" if found else "lockdep says nothing of the unpatched kernel's locks")

    def add(self, test, verdict, reason="", seconds=0.0):
        self.results.add(self.session.kernel.name, "xen", f"control.{test}", verdict, reason, seconds, self.session.log)

    def ended(self, boot, item):
        super().ended(boot, item)
        self.stock.update({test: verdict for test, verdict in inguest.verdicts(self.session, boot, item)[1]
                           if test.startswith("stock.")})
        if inguest.ENOTTY.search(boot.log(item)):
            self.refused.append(self.session.programs[item].name)


def programs(image, name):
    """The programs for that guest, only 64-bit ones, because Xen's ioctls are 64-bit."""
    log = config.BUILD / "log" / f"kselftest-{name}-{image.kind}.log"
    return kselftest.programs(image, log, kselftest.XEN, kselftest.NATIVE)


def core(kernel, image, programs, results):
    """Run the part for `make check`: arm64, with few cycles."""
    XenPatched(XenSession(kernel, image, programs, "queue", "arm64", CORE_CYCLES), results).run()


def check(kernel, results):
    """Run it all."""
    oldest, newest = config.kernels()[0], config.kernels()[-1]

    def run(image, mode):
        found = programs(image, kernel.name)
        XenPatched(XenSession(kernel, image, found, "queue", mode), results).run()
        return found

    found = run(images.kernel_image(kernel, "queue", "arm64"), "arm64")
    if kernel in (oldest, newest):
        run(images.kernel_image(kernel, "queue", "pvh"), "pvh")
    if kernel == oldest:    # one kernel is enough to test the refusal
        run(images.kernel_image(kernel, "queue", "pv"), "pv")
    # The programs come from the woven tree: only the kernel differs.
    tree.make_control(config.queue(), kernel)
    image = images.kernel_image(kernel, "control", "arm64")
    XenUnpatched(XenSession(kernel, image, found, "control", "arm64"), results, inguest.own_files(kernel)).run()
