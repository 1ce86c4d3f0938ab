# SPDX-License-Identifier: GPL-2.0
"""`make bench`: what the queue's calls cost on the oldest and the newest kernel; `make bench-check` compares.

Figures are {row: {key: number}}: instructions, which drive the guest's clock and so are the same in every run
(bench/bench.c, bench/queue_bench.c); bytes of slab; bytes of text and data that a toggle adds to the kernel. They are kept
in Documentation/queue: bench.json, plots, and the table in bench.md, of which README.md quotes a line.
"""

import json
import re
import shutil

from base import config, origin, steps
from base.steps import Failure, say
from lab import build, debian, guest, source
from suites import figures
from weave import table as tables, tree

HERE = config.HERE / "bench"
OUT = config.OUT / "bench"         # of other kernels, .json, .svg
BEGIN, END = "<!-- make bench -->", "<!-- end -->"
FRAGMENT = "bench.config"
SECONDS = 3600
TEST = "_KUNIT_TEST"
OFF = "CONFIG_DMABUF_SYNC_FILE_IOCTLS"      # the toggle that is also turned off to measure a buffer


def main(kernels):
    """Measure, and print; the figures of the standard kernels are kept, also if only one of them was measured."""
    found = measure_all(kernels or standard())
    whole = figures.merged(kept(), found, [kernel.name for kernel in standard()])
    say(figures.table(whole or found))
    if not whole:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        write(found, OUT)
        say(f"{OUT}.json, {OUT}.svg: written; {figures.KEPT}.json has {' and '.join(kernel.name for kernel in standard())}, measured alike")
        return
    write(whole, config.ROOT / figures.KEPT)
    quote(config.ROOT / f"{figures.KEPT}.md", figures.page(whole))
    quote(config.ROOT / tables.README, figures.line(whole))
    say(f"{figures.KEPT}.json, {figures.KEPT}.svg, {figures.KEPT}.md and {tables.README}: written")


def check(kernels):
    """Measure, and compare with the kept figures."""
    before = kept()
    if not before:
        raise Failure(f"there is no {figures.KEPT}.json to compare with; `make bench` writes it")
    found = measure_all(kernels or standard())
    if figures.versions(before) != figures.versions(found):
        steps.note(f"what is kept was measured with {figures.versions(before)}; this with {figures.versions(found)}")
    problems = figures.differences(before["kernels"], found["kernels"])
    for problem in problems:
        say(problem)
    if problems:
        raise Failure(f"not within {figures.TOLERANCE:.0%} of {figures.KEPT}.json: {len(problems)} figures; if that is meant, `make bench`")
    say(f"all figures are within {figures.TOLERANCE:.0%} of {figures.KEPT}.json")


def kept():
    path = config.ROOT / f"{figures.KEPT}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def standard():
    return [config.kernels()[0], config.kernels()[-1]]


def measure_all(kernels):
    source.announce(kernels)
    debian.deps(debian.BENCH)
    found = {"tools": {"gcc": steps.run(["gcc", "-dumpfullversion"]).strip(),
                       "qemu": re.search(r"version (\S+)", steps.run(["qemu-system-x86_64", "--version"]))[1]}, "kernels": {}}
    for kernel in kernels:
        source.get(kernel)
        tree.tell(config.queue(), kernel, tree.make(config.queue(), kernel))
        found["kernels"][kernel.name] = {"source": origin.recorded(config.queue(), kernel)[1], "figures": Bench(kernel).measure()}
    found["ratios"] = figures.ratios(found["kernels"])
    return found


class Bench:
    """The kernels of one source, built in turn in one directory, so that only what a toggle changes is compiled."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.log = config.BUILD / "log" / f"bench-{kernel.name}.log"
        self.kbuild = build.Kbuild(kernel.tree, kernel.tree / ".obj-bench", suffix="-bench", log=self.log)
        self.toggles = build.wanted([build.TOGGLES], kernel.name)
        self.image = build.Image(kernel.tree, self.kbuild.obj)

    def measure(self):
        self.build("all toggles on, no tests")
        found, whole = self.boot("on", self.module()), self.size()
        for toggle in [toggle for toggle in self.toggles if not toggle.endswith(TEST)]:
            self.build(f"without {toggle}", {toggle: "n"})
            self.add_size(found, toggle, [more - less for more, less in zip(whole, self.size())])
            if toggle == OFF:
                found["life"].update(self.boot("off", {})["life"])
        tests = {toggle: value for toggle, value in self.toggles.items() if toggle.endswith(TEST)}
        self.build("with the tests", tests)
        for toggle in tests:
            self.add_size(found, toggle, self.size([path for path in self.objects(toggle) if path.exists()]))
        return found

    def build(self, what, changes=None):
        with steps.step(f"building {self.kbuild.obj}, {what} (log: {self.log})"):
            toggles = {name: "n" if name.endswith(TEST) else value for name, value in self.toggles.items()}
            options = {**build.wanted([FRAGMENT], self.kernel.name), **toggles, **(changes or {})}
            # If one is off, those that depend on it are off, too.
            self.kbuild.configure(options, optional=self.toggles if changes else ())
            self.kbuild.make("bzImage", "modules", what=f"building {self.kernel.tree}", progress=True)

    def size(self, paths=None):
        """[text, data] of objects; by default of all objects that are linked into the kernel."""
        paths = paths if paths is not None else [*self.kbuild.obj.glob("*/built-in.a"), *self.kbuild.obj.glob("arch/*/built-in.a")]
        lines = steps.run(["size", *paths], cwd=self.kbuild.obj).splitlines()[1:] if paths else []
        return [sum(int(line.split()[column]) for line in lines) for column in (0, 1)]

    def objects(self, toggle):
        """The modules that the Makefiles build for the toggle."""
        for directory in build.TOGGLED:
            text = (self.kernel.tree / directory / "Makefile").read_text(encoding="utf-8")
            for names in re.findall(rf"^obj-\$\({toggle}\)\s*\+?=\s*(.*)$", text, re.MULTILINE):
                yield from (self.kbuild.obj / directory / name for name in names.split())

    @staticmethod
    def add_size(found, toggle, sizes):
        for row, size in zip(figures.SIZES, sizes):
            found.setdefault(row, {})[toggle.removeprefix("CONFIG_")] = size

    def module(self):
        """{path in the guest: path} of the program and the module, built."""
        where = config.BUILD / "bench" / self.kernel.name
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        for name in ("Kbuild", "queue_bench.c"):
            shutil.copy(HERE / name, where)
        self.kbuild.make(f"M={where}", "modules", what="building the module")
        return {"test/queue_bench.ko": where / "queue_bench.ko"}

    def boot(self, name, files):
        program = config.BUILD / "bench" / "bench"
        helpers = config.ROOT / "tools/testing/selftests/drivers/dma-buf"
        steps.run(["gcc", "-O2", "-Wall", "-static", "-D_GNU_SOURCE", "-I", helpers, "-o", program, HERE / "bench.c"], log=self.log)
        command = "insmod /test/queue_bench.ko && /test/bench" if files else "/test/bench"
        with steps.step(f"measuring {self.kernel.name}, {name}"):
            boot = guest.run(f"{self.kernel.name}-bench-{name}", self.image.bootable, {"test/bench": program, **files},
                             [guest.Item("bench", SECONDS, command)], leaks=False, accel="count", append="nokaslr norandmaps")
        bad = boot.error or next((text for _, text in boot.splats()), "") or (boot.status["bench"] and boot.log("bench"))
        if bad:
            raise Failure(f"{self.kernel.name}: {bad.strip()}; see {boot.dir}")
        return figures.parse(boot.log("bench"))


def quote(path, text, mark=BEGIN):
    """Put @text between the two marks of the page at @path, of which @mark is the first."""
    head, begin, rest = path.read_text(encoding="utf-8").partition(mark)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Failure(f"{path} has no place for what was measured; put it between the lines {mark} and {END}")
    path.write_text(f"{head}{begin}\n{text}{end}{tail}", encoding="utf-8")


def write(found, path):
    """PATH.json, and PATH.svg: a plot for each row that has the number of fences for a key."""
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    steps.run(["gnuplot"], input=figures.plot(found, path.with_suffix(".svg")), what="plotting")
