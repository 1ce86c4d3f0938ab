# SPDX-License-Identifier: GPL-2.0
"""The suite `build`: every commit of the woven tree builds, on its own, and brings no new warning.

So whoever bisects through the queue, or takes a part of it, has a kernel that builds. For x86-64
and arm64, with gcc, each commit is built with all toggles on, with all of them off and with each
alone off; on the newest kernel clang builds each too, toggles on.

To keep that in minutes only what a commit can change is compiled: the objects of touched files, and
the whole subsystem if the commit touches that or a header of the kernel. A toggle is turned off where
that can make a difference (toggles_that_matter()); any other file is compiled to the same object
whichever is off. The first and the last commit are built in every way. The whole kernel is built for the guest.
"""

import re
import time
from pathlib import Path

import build
import config
import debian
import gitcmd
import steps
from results import FAIL, PASS
from steps import Failure

SUBSYSTEM = build.SUBSYSTEM
CODE = ("drivers/", "fs/", "mm/", "samples/")     # where the queue touches what is compiled into a kernel
# Drivers that no processor of CONFIGS can have, one whose compiler takes their objects, and what make is told.
FORCED = {"drivers/gpu/drm/omapdrm/": ("arm64", "CONFIG_DRM_OMAP=m")}
CONFIGS = {"x86_64": ("guest.config", "compile-x86_64.config"), "arm64": ("compile-arm64.config",)}


class Variant:
    """One architecture and compiler, built from commit to commit, with the toggles on and then with some off.

    All in one directory: there the build system knows what a toggle changes, and compiles no more.
    """

    def __init__(self, tree, kernel, arch, clang=False):
        self.tree = tree
        self.name = f"{arch}-{'clang' if clang else 'gcc'}"
        self.off = not clang    # whether it is built with toggles off as well
        self.logs = config.BUILD / "log" / f"commits-{kernel.name}"
        cross, env = ("", None) if arch == "x86_64" else debian.cross_compiler()
        compiler = None
        if clang:
            compiler, env = debian.clang()
        self.kbuild = build.Kbuild(tree, tree / f".obj-{self.name}", arch=arch, cross=cross, env=env, compiler=compiler)
        self.toggles = build.wanted([build.TOGGLES], kernel.name)
        self.options = build.wanted(CONFIGS[arch], kernel.name)
        self.arch = arch
        self.pending = True     # to be configured
        self.known = set()      # warnings of the unpatched source

    def make(self, number, targets, *words):
        """Build @targets; returns the warnings. A failure names the first error of the compiler."""
        if not targets:
            return set()
        log = self.logs / f"{number:04}-{self.name}.log"
        self.kbuild.log = log
        start = log.stat().st_size if log.exists() else 0
        try:
            self.compile(targets, *words)
        except Failure as failure:
            text = log.read_text(encoding="utf-8", errors="replace")
            first = re.search(r"^.*\berror:.*$|\*\*\* No rule.*$", text, re.MULTILINE)
            raise Failure(f"{self.name}: {first[0] if first else str(failure)}; see {log}") from failure
        text = log.read_bytes()[start:].decode("utf-8", "replace")
        # Without their place in the file, which the patches move.
        return set(re.findall(r"^([^\s:]+):\d+(?::\d+)?: (warning: .*)$", text, re.MULTILINE))

    def compile(self, targets, *words):
        # Given a directory, make passes over objects that are named beside it (5.10).
        for some in ([t for t in targets if t.endswith("/")], [t for t in targets if not t.endswith("/")]):
            if some:
                self.kbuild.make(*words, *self.force(some), *some, what=f"building {self.name}")
        missing = [target for target in targets if not (self.kbuild.obj / target).exists()]
        if missing:
            raise Failure(f"{self.name}: make did not build {' '.join(missing)}")

    def force(self, targets):
        """What tells make to compile @targets, if some are of drivers that cannot be configured."""
        return [option for directory, (_, option) in FORCED.items() if any(target.startswith(directory) for target in targets)]

    def start(self, number, off=()):
        """Configure with the toggles in @off off; with all on, only if they were not, or a Kconfig changed."""
        self.kbuild.log = self.logs / f"{number:04}-{self.name}.log"
        if self.pending or off:
            # The toggles appear in the course of the series, and depend on each other.
            self.kbuild.configure({**self.options, **self.toggles, **dict.fromkeys(off, "n")}, optional=self.toggles)
        self.pending = bool(off)

    def builds(self, path):
        """Whether this kernel, as it is configured, contains the source file @path."""
        return self.contains(path, build.resolved(self.kbuild.obj))

    def contains(self, path, real):
        """The same, given the options that it has."""
        for directory, (arch, _) in FORCED.items():
            if path.startswith(directory):
                return arch == self.arch
        return bool(setting(self.tree, path, real))

    def targets(self, paths):
        """What make has to build for touched @paths: the subsystem, and single objects elsewhere."""
        real = build.resolved(self.kbuild.obj)
        if not any(path.startswith((SUBSYSTEM, "include/")) or is_kconfig(path) for path in paths):
            return [path[:-1] + "o" for path in self.others(paths, real)]
        # make DIRECTORY/ leaves modules out (5.10), so the subsystem's are named as well.
        modules = [path for path in sources(self.tree, SUBSYSTEM) if setting(self.tree, path, real) == "m"]
        return [SUBSYSTEM, *(path[:-1] + "o" for path in [*modules, *self.others(paths, real)])]

    def others(self, paths, real):
        """Those sources of @paths that are not the subsystem's, and that this kernel contains."""
        return [path for path in paths if path.endswith(".c") and path.startswith(CODE)
                and not path.startswith(SUBSYSTEM) and (self.tree / path).exists()
                and self.contains(path, real)]

    def step(self, number, paths, toggles):
        """Build a commit that touches @paths: with all on, and if one of @toggles matters with all off and each of them off.

        Returns (its objects, problems).
        """
        (self.logs / f"{number:04}-{self.name}.log").unlink(missing_ok=True)
        self.pending |= any(map(is_kconfig, paths))
        ways = [()]
        if self.off and toggles:
            ways += [tuple(self.toggles), *((toggle,) for toggle in toggles if len(self.toggles) > 1)]
        objects, problems = [], []
        for off in ways:
            how = f"{self.name}{f', {chr(32).join(off)} off' if off else ''}"
            try:
                self.start(number, off)
                targets = self.targets(paths)
                objects += [] if off else targets
                new = self.make(number, targets) - self.known
                problems += [f"{how}: {path}: {text}" for path, text in sorted(new)]
            except Failure as failure:
                problems.append(f"{how}: {str(failure).splitlines()[0]}")
        return objects, problems


def is_kconfig(path):
    return path.rpartition("/")[2].startswith("Kconfig")


def toggles_that_matter(git, commit, paths, toggles):
    """Those of @toggles with which off the objects of @paths, which @commit touches, can be others than with all on.

    A toggle that no source or header mentions decides which objects there are, not what is in them,
    so it matters where a Kconfig or Makefile begins to name it.
    """
    lists = [path for path in paths if is_kconfig(path) or path.rpartition("/")[2] == "Makefile"]
    diff = git("show", "--format=", "--unified=0", commit, "--", *lists) if lists else ""
    texts = re.findall(r"^[-+].*", diff, re.MULTILINE)
    if any(path.endswith(".h") and path.startswith((SUBSYSTEM, "include/")) for path in paths):
        words = [word for toggle in toggles for word in ("-e", toggle)]
        status, found, _ = git.attempt("grep", "-h", "-w", *words, commit, "--", f"{SUBSYSTEM}*.[ch]", "include/*.h")
        texts += [found] if status == 0 else []
    for path in paths:
        file = git.directory / path
        if path.endswith((".c", ".h")) and not path.startswith("tools/") and file.is_file():
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
    return {toggle for toggle in toggles
            if any(re.search(rf"\b(CONFIG_)?{toggle.removeprefix('CONFIG_')}\b", text) for text in texts)}


def sources(tree, directory):
    return sorted(str(path.relative_to(tree)) for path in (tree / directory).rglob("*.c"))


def setting(tree, path, options):
    """"y", "m" or "": what a source file is in a kernel with @options, by the obj-$(CONFIG_...) lines above it."""
    value, path = "y", Path(path)
    for directory in path.parents:
        makefile = tree / directory / "Makefile"
        if not makefile.exists():
            continue
        # The object itself, or a directory on the way to it: file.o, amd/amdgpu/.
        inside = path.with_suffix(".o").relative_to(directory)
        names = {str(inside), *(f"{parent}/" for parent in inside.parents)}
        found = []
        for line in makefile.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            match = re.match(r"\S+-\$\((CONFIG_\w+)\)\s*[+:]?=(.*)", line)
            if match and names & set(match[2].split()):
                found.append(options.get(match[1], ""))
        # Several options may lead to it (usb/); one suffices.
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
    git("checkout", "--quiet", "--force", "--detach", "base")
    tree = git.directory
    variants = variants_of(tree, kernel)

    def unpatched(variant):
        (variant.logs / f"0000-{variant.name}.log").unlink(missing_ok=True)
        variant.start(0)
        variant.known = variant.make(0, variant.targets(everything))

    with steps.step(f"building what the queue touches, unpatched, {len(variants)} times"):
        # Compilers keep all processors busy; what make does before and after them does not.
        steps.parallel(unpatched, variants)
    compiled = set()
    for number, commit in enumerate(ids, 1):
        start = time.monotonic()
        git("checkout", "--quiet", "--force", "--detach", commit)
        subject = git.line("log", "-1", "--format=%f", commit)
        paths = everything if commit == ids[-1] else touched(git, commit)
        toggles = variants[0].toggles       # in their order
        if commit not in (ids[0], ids[-1]):
            matter = toggles_that_matter(git, commit, paths, toggles)
            toggles = [toggle for toggle in toggles if toggle in matter]
        done = steps.parallel(lambda variant: variant.step(number, paths, toggles), variants)
        compiled.update(target for targets, _ in done for target in targets)
        problems = [problem for _, found in done for problem in found]
        results.add(kernel.name, "build", f"{number:04}-{subject}", FAIL if problems else PASS,
                    problems[0] if problems else "", time.monotonic() - start)
    coverage(kernel, everything, compiled, tree, results)
    for variant in variants:
        variant.start(len(ids) + 1)
        pedantic(kernel, git, variant, len(ids) + 1, results)


def coverage(kernel, paths, compiled, tree, results):
    """Every touched source file was compiled by some variant, or the suite says nothing about it."""
    missed = [path for path in paths if path.endswith(".c") and path.startswith(CODE) and (tree / path).exists()
              and not path.startswith(SUBSYSTEM) and path[:-1] + "o" not in compiled]
    results.add(kernel.name, "build", "coverage", FAIL if missed else PASS,
                f"never compiled: {' '.join(missed)}; add its option to configs/compile-*.config" if missed else "")


def pedantic(kernel, git, variant, number, results):
    """The queue's own files give no warning with W=1 either."""
    new = git.line("diff", "--name-only", "--diff-filter=A", "--no-renames", "base", "HEAD").split("\n")
    own = [path for path in new if path.startswith("drivers/") and path.endswith((".c", ".h"))]
    real = build.resolved(variant.kbuild.obj)
    objects = [path[:-1] + "o" for path in own if path.endswith(".c") and setting(variant.tree, path, real)]
    if not objects:
        return
    start = time.monotonic()
    try:
        (variant.logs / f"{number:04}-{variant.name}.log").unlink(missing_ok=True)
        warnings = variant.make(number, objects, "W=1")
        problems = [f"{path}: {text}" for path, text in sorted(warnings)
                    if any(path.endswith(mine) for mine in own)]
    except Failure as failure:
        problems = [str(failure).splitlines()[0]]
    results.add(kernel.name, "build", f"W=1-{variant.name}", FAIL if problems else PASS,
                problems[0] if problems else "", time.monotonic() - start)
