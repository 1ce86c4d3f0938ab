# SPDX-License-Identifier: GPL-2.0
"""The suite `build` of `make check-full`: every commit of the woven tree builds by itself, without a new warning.

So each step of a bisection through the queue, and each part of it, gives a kernel that builds. For x86-64
and arm64, with gcc, each commit is built with all toggles on, with all of them off and with each one
alone off; on the newest kernel clang also builds each commit, with toggles on.

Only what a commit can change is built: the objects of touched files, and the whole subsystem if the commit
touches it or a header that it includes. A toggle is turned off if one of these objects depends on it. The last commit
is treated as if it touched all files. The whole kernel is built for the guest.
"""

import re
import time
from pathlib import Path

from base import config, gitcmd, steps
from base.steps import Failure
from lab import build, debian
from suites import kselftest
from suites.results import FAIL, PASS

SUBSYSTEM = build.SUBSYSTEM
CODE = ("drivers/", "fs/", "mm/", "samples/")     # where the queue touches code that is compiled into a kernel
USER = (*kselftest.DIRECTORIES, *kselftest.XEN)     # except for programs
# Drivers that no processor of CONFIGS can have, the one whose compiler can compile them, and the arguments for make.
FORCED = {"drivers/gpu/drm/omapdrm/": ("arm64", "CONFIG_DRM_OMAP=m")}
CONFIGS = {"x86_64": ("guest.config", "compile-x86_64.config"), "arm64": ("compile-arm64.config",)}


class Variant:
    """One architecture and compiler, with objects that are rebuilt from commit to commit."""

    def __init__(self, tree, kernel, arch, clang=False):
        self.tree = tree
        self.name = f"{arch}-{'clang' if clang else 'gcc'}"
        self.off = not clang    # whether it is also built with toggles off
        self.logs = config.BUILD / "log" / f"commits-{kernel.name}"
        cross, env = ("", None) if arch == "x86_64" else debian.cross_compiler()
        compiler = None
        if clang:
            compiler, env = debian.clang()
        self.kbuild = build.Kbuild(tree, tree / f".obj-{self.name}", arch=arch, cross=cross, env=env, compiler=compiler)
        self.toggles = build.wanted([build.TOGGLES], kernel.name)
        self.options = build.wanted(CONFIGS[arch], kernel.name)
        self.arch = arch
        self.state = None       # the toggles that are off in the configuration, if that was made with the current Kconfig files
        self.known = set()      # warnings of the unpatched source

    def log(self, number):
        return self.logs / f"{number:04}-{self.name}.log"

    def make(self, number, targets, *words):
        """Build @targets; returns the warnings. A failure names the first error of the compiler."""
        if not targets:
            return set()
        self.kbuild.log = log = self.log(number)
        start = log.stat().st_size if log.exists() else 0
        try:
            self.compile(targets, *words)
        except Failure as failure:
            text = log.read_text(encoding="utf-8", errors="replace")
            first = re.search(r"^.*\berror:.*$|\*\*\* No rule.*$", text, re.MULTILINE)
            raise Failure(f"{self.name}: {first[0] if first else str(failure)}; see {log}") from failure
        text = log.read_bytes()[start:].decode("utf-8", "replace")
        return warnings(text)

    def compile(self, targets, *words):
        # make DIRECTORY/ leaves out modules by default (5.10), and ignores objects that are named beside it.
        whole = [target for target in targets if target.endswith("/")]
        single = [target for target in targets if not target.startswith(tuple(whole))]
        for some, how in ((whole, ["KBUILD_MODULES=y"]), (single, [])):
            if some:
                self.kbuild.make(*words, *how, *self.force(some), *some, what=f"building {self.name}")
        missing = [target for target in targets if not (self.kbuild.obj / target).exists()]
        if missing:
            raise Failure(f"{self.name}: make did not build {' '.join(missing)}")

    def force(self, targets):
        """The arguments that make @targets compile, if some belong to drivers that cannot be configured."""
        return [option for directory, (_, option) in FORCED.items() if any(target.startswith(directory) for target in targets)]

    def configure(self, off=()):
        """Configure with the toggles @off off and the others on, if it is not configured so."""
        if self.state != off:
            # The toggles are added in the course of the series.
            toggles = {name: "n" if name in off else value for name, value in self.toggles.items()}
            self.kbuild.configure({**self.options, **toggles}, optional=toggles)
            real = build.resolved(self.kbuild.obj)
            stuck = [name for name in off if name in real]
            if stuck:
                raise Failure(f"something turns {' '.join(stuck)} on again")
            self.state = off

    def builds(self, path):
        """Whether this kernel, as it is configured, contains the source file @path."""
        return self.contains(path, build.resolved(self.kbuild.obj))

    def contains(self, path, real):
        """The same, given the options that it has."""
        for directory, (arch, _) in FORCED.items():
            if path.startswith(directory):
                return arch == self.arch
        return bool(setting(self.tree, path, real))

    def included(self):
        """Headers that the subsystem was last compiled with, as recorded by the build system."""
        found = set()
        for path in (self.kbuild.obj / SUBSYSTEM).rglob(".*.o.cmd"):
            found.update(re.findall(r"(include/\S+\.h)", path.read_text(encoding="utf-8")))
        return found

    def targets(self, paths, included):
        """What make has to build for touched @paths: the subsystem, if it has or uses one of them, and single objects elsewhere."""
        real = build.resolved(self.kbuild.obj)
        others = [path[:-1] + "o" for path in self.others(paths, real)]
        if not any(path.startswith(SUBSYSTEM) or is_kconfig(path) or path in included for path in paths):
            return others
        # Building a directory does not report missing objects.
        modules = [path[:-1] + "o" for path in sources(self.tree, SUBSYSTEM) if setting(self.tree, path, real) == "m"]
        return [SUBSYSTEM, *modules, *others]

    def others(self, paths, real):
        """Those sources of @paths that are outside the subsystem and that this kernel contains."""
        return [path for path in paths if path.endswith(".c") and path.startswith(CODE)
                and not path.startswith((SUBSYSTEM, *USER)) and (self.tree / path).exists()
                and self.contains(path, real)]

    def step(self, number, paths, included):
        """Build a commit that touches @paths: with all toggles on, with all off, and with each off that matters.

        @included: headers that the subsystem uses. Returns (its objects, problems, {(how, warning)}).
        """
        self.kbuild.log = self.log(number)
        self.kbuild.log.unlink(missing_ok=True)
        if any(map(is_kconfig, paths)):
            self.state = None
        how, warned = self.name, set()
        try:
            self.configure()
            built = self.targets(paths, included)
            warned |= {(how, warning) for warning in self.make(number, built)}
            there = build.resolved(self.kbuild.obj)
            alone = self.uses(built, paths) if self.off else []
            # If only one toggle matters, all off is the same as this one off.
            for off in [tuple(name for name in self.toggles if name in there)] * bool(alone) + [(name,) for name in alone if len(alone) > 1]:
                how = f"{self.name}, {' '.join(off)} off"
                self.configure(off)
                warned |= {(how, warning) for warning in self.make(number, self.targets(paths, included))}
        except Failure as failure:
            self.state = None
            return [], [f"{how}: {str(failure).splitlines()[0]}"], set()
        return built, [], warned

    def uses(self, targets, paths):
        """The toggles on which an object depends that was built for @targets and includes one of @paths."""
        found = set()
        for target in targets:
            for path in sources(self.tree, target) if target.endswith("/") else [target]:
                record = self.kbuild.obj / Path(path).with_name(f".{Path(path).stem}.o.cmd")
                named = words(record) if record.exists() else set()
                if named.intersection(paths):
                    found |= {toggle for toggle in self.toggles if named & stamps(toggle)}
        return [toggle for toggle in self.toggles if toggle in found]

    def new(self, warned):
        """Those of step()'s warnings that the unpatched sources do not have."""
        return [f"{how}: {warning[0]}: {warning[1]}" for how, warning in sorted(warned) if warning not in self.known]


def warnings(text):
    """(file, warning) for each warning of a compiler, without line numbers, which the patches change."""
    return set(re.findall(r"^([^\s:]+):\d+(?::\d+)?: (warning: .*)$", text, re.MULTILINE))


def words(record):
    """What the build system recorded about an object: among other things the files that it was made from."""
    return {word.rstrip(")").removeprefix("../") for word in record.read_text(encoding="utf-8").split()}


def stamps(toggle):
    """How the build system records that an object depends on a toggle; the second form is that of 5.10."""
    return {f"include/config/{toggle.removeprefix('CONFIG_')}",
            f"include/config/{toggle.removeprefix('CONFIG_').lower().replace('_', '/')}.h"}


def is_kconfig(path):
    return path.rpartition("/")[2].startswith("Kconfig")


def sources(tree, directory):
    return sorted(str(path.relative_to(tree)) for path in (tree / directory).rglob("*.c"))


def setting(tree, path, options):
    """Whether a source file is in a kernel with @options ("y", "m" or ""), by the obj-$(CONFIG_...) lines of its directories."""
    value, path = "y", Path(path)
    for directory in path.parents:
        makefile = tree / directory / "Makefile"
        if not makefile.exists():
            continue
        # The object itself, a directory that leads to it (amd/amdgpu/), or the object that it is a part of.
        inside = path.with_suffix(".o").relative_to(directory)
        names = {str(inside), *(f"{parent}/" for parent in inside.parents)}
        lines = makefile.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        for line in lines:
            match = re.match(r"(\S+)-(?:y|objs)\s*[+:]?=(.*)", line)
            if match and names & set(match[2].split()):
                names.add(f"{match[1]}.o")
        found = []
        for line in lines:
            match = re.match(r"\S+-\$\((CONFIG_\w+)\)\s*[+:]?=(.*)", line)
            if match and names & set(match[2].split()):
                found.append(options.get(match[1], ""))
        # Several options may include it (usb/); one is enough.
        if found and not any(found):
            return ""
        if found:
            value = "m" if value == "m" or "y" not in found else "y"
    return value


def checkout(kernel):
    """A clone of the woven tree to move about in; returns (git, ids from the first patch to the last)."""
    path = kernel.build / "commits"
    queue = config.queue()
    if not path.exists():
        gitcmd.own(kernel.build, queue)("clone", "--quiet", "--shared", "--no-checkout", kernel.tree, path)
    git = gitcmd.own(path, queue)
    git("fetch", "--quiet", "--force", kernel.tree, "refs/heads/queue:refs/remotes/origin/queue",
        "refs/tags/base:refs/tags/base")
    ids = git.line("rev-list", "--reverse", "base..origin/queue").split()
    return git, ids


def touched_by_all(kernel):
    """{path: git's letter for what the whole series does to it, A or M}."""
    git = gitcmd.own(kernel.tree, config.queue())
    names = git.line("diff", "--name-status", "--no-renames", "base", "queue").splitlines()
    return {path: kind for kind, path in (line.split("\t") for line in names)}


def touched(git, commit):
    return git.line("diff-tree", "-r", "--no-commit-id", "--name-only", commit).split("\n")


def variants_of(tree, kernel):
    found = [Variant(tree, kernel, arch) for arch in CONFIGS]
    if kernel == config.kernels()[-1]:
        found.append(Variant(tree, kernel, "x86_64", clang=True))
    return found


def check(kernel, results):
    git, ids = checkout(kernel)
    everything = sorted({path for commit in ids for path in touched(git, commit)})
    tree = git.directory
    variants = variants_of(tree, kernel)

    def unpatched(paths):
        """Learn the warnings that the unpatched sources already have."""
        def build_them(variant):
            variant.kbuild.log = variant.log(0)
            variant.kbuild.log.unlink(missing_ok=True)
            variant.state = None
            variant.configure()
            variant.known |= variant.make(0, variant.targets(paths, ()))
            variant.state = None
        git("checkout", "--quiet", "--force", "--detach", "base")
        with steps.step(f"building unpatched sources, {len(variants)} times"):
            # Compiling keeps all processors busy, but the rest of make does not.
            steps.parallel(build_them, variants)

    # The other sources only if there is a warning: usually there is none.
    unpatched([f"{SUBSYSTEM}Kconfig"])
    compiled, others = set(), everything
    for number, commit in enumerate(ids, 1):
        start = time.monotonic()
        git("checkout", "--quiet", "--force", "--detach", commit)
        subject = git.line("log", "-1", "--format=%f", commit)
        paths = everything if commit == ids[-1] else touched(git, commit)
        # Only touched sources include new headers.
        included = set().union(*(variant.included() for variant in variants))
        done = steps.parallel(lambda variant: variant.step(number, paths, included), variants)
        compiled.update(target for targets, _, _ in done for target in targets)
        problems = [problem for _, found, _ in done for problem in found]

        def new():
            return [text for variant, (_, _, warned) in zip(variants, done) for text in variant.new(warned)]

        if others and new():
            unpatched(others)
            git("checkout", "--quiet", "--force", "--detach", commit)
            others = []
        problems += new()
        results.add(kernel.name, "build", f"{number:04}-{subject}", FAIL if problems else PASS,
                    problems[0] if problems else "", time.monotonic() - start, variants[0].log(number))
    coverage(kernel, everything, compiled, tree, results)
    new = git.line("diff", "--name-only", "--diff-filter=A", "--no-renames", "base", "HEAD").split("\n")
    for variant, (problems, seconds) in zip(variants, steps.parallel(
            lambda variant: pedantic(variant, new, len(ids) + 1), variants)):
        results.add(kernel.name, "build", f"W=1-{variant.name}", FAIL if problems else PASS,
                    problems[0] if problems else "", seconds, variant.log(len(ids) + 1))


def coverage(kernel, paths, compiled, tree, results):
    """Check that some variant compiled every touched source file: otherwise the suite proves nothing about it."""
    left = missed(paths, compiled, tree)
    results.add(kernel.name, "build", "coverage", FAIL if left else PASS,
                f"never compiled: {' '.join(left)}; add its option to configs/compile-*.config" if left else "")


def missed(paths, compiled, tree):
    """Those of @paths, outside the subsystem, that are compiled into a kernel and whose object is not in @compiled."""
    return [path for path in paths if path.endswith(".c") and path.startswith(CODE) and (tree / path).exists()
            and not path.startswith((SUBSYSTEM, *USER)) and path[:-1] + "o" not in compiled]


def pedantic(variant, new, number):
    """(problems, seconds): check that the sources and headers among the @new files give no warning with W=1."""
    start = time.monotonic()
    try:
        variant.kbuild.log = variant.log(number)
        variant.kbuild.log.unlink(missing_ok=True)
        variant.configure()
        own = [path for path in new if path.startswith("drivers/") and path.endswith((".c", ".h"))]
        real = build.resolved(variant.kbuild.obj)
        objects = [path[:-1] + "o" for path in own if path.endswith(".c") and setting(variant.tree, path, real)]
        found = variant.make(number, objects, "W=1")
        problems = [f"{path}: {text}" for path, text in sorted(found)
                    if any(path.endswith(mine) for mine in own)]
    except Failure as failure:
        problems = [str(failure).splitlines()[0]]
    return problems, time.monotonic() - start
