# SPDX-License-Identifier: GPL-2.0
"""Configures and builds kernels.

A tree is built into .obj inside itself, which the kernel's .gitignore covers. The build system then
uses the same relative paths of source files in each tree, so that ccache shares objects between the
patched kernel, the control kernel and any other tree.
"""

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from base import config, steps
from base.steps import Failure
from lab import debian

CONFIGS = config.HERE / "configs"
GUEST = ("guest.config", "debug.config")
TOGGLES = "queue.config"
SUBSYSTEM = "drivers/dma-buf/"
TOGGLED = (SUBSYSTEM, "drivers/xen/")       # where the queue has sources that depend on a toggle
PROGRESS_SECONDS = 20
# Variables of the user's environment that would affect the kernel's make.
FOREIGN = ("KBUILD_OUTPUT", "KCFLAGS", "KAFLAGS", "KCPPFLAGS", "LLVM", "LLVM_IAS", "KCONFIG_CONFIG", "CFLAGS", "LDFLAGS",
           "INSTALL_HDR_PATH", "KBUILD_EXTMOD", "KBUILD_VERBOSE", "C", "M", "O", "V", "W")


@dataclass(frozen=True)
class Kind:
    """How a kernel for one kind of guest is built; a kind without modules has no KUnit tests, either."""

    arch: str
    fragments: tuple
    place: str          # directory of the objects, in the tree
    modules: bool


KINDS = {
    "guest": Kind("x86_64", GUEST, ".obj", True),
    "light": Kind("x86_64", (*GUEST, "light.config"), ".obj-light", True),
    "plain": Kind("x86_64", ("guest.config", "plain.config"), ".obj-plain", False),
    "arm64": Kind("arm64", ("xen-arm64.config",), ".obj-xen", False),
    "arm64-bench": Kind("arm64", ("xen-arm64.config", "xen-bench.config"), ".obj-xen-bench", False),
    "pvh": Kind("x86_64", (*GUEST, "xen-pvh.config"), ".obj-pvh", False),
    "pv": Kind("x86_64", ("xen-pv.config",), ".obj-pv", False),
}


@dataclass(frozen=True)
class Image:
    """A kernel that can be booted, and the directory it was built in."""

    tree: Path
    obj: Path
    kind: str = "guest"

    @property
    def arch(self):
        return KINDS[self.kind].arch

    @property
    def bootable(self):
        """The file that a boot loader takes."""
        return self.obj / "arch" / ("arm64/boot/Image" if self.arch == "arm64" else "x86/boot/bzImage")

    @property
    def test_modules(self):
        """KUnit modules of the subsystems, sorted; empty if the kernel has none."""
        return sorted(path for path in self.modules if re.search(r"/drivers/(dma-buf|xen|gpu/drm/scheduler)/", str(path))
                      and re.search(r"[-_](tests?|kunit)\.ko$", path.name))

    @property
    def modules(self):
        """All modules of this build; modules of an earlier series may remain beside them."""
        if not KINDS[self.kind].modules:
            return []
        order = (self.obj / "modules.order").read_text(encoding="ascii").split()
        return [self.obj / re.sub(r"\.k?o$", ".ko", name) for name in order]


def environment():
    date, identity = config.DATE, config.IDENTITY
    return {
        **dict.fromkeys(FOREIGN),
        "CCACHE_DIR": os.environ.get("CCACHE_DIR") or config.BUILD / "ccache",
        # Nothing records the directory (there is no debug information), so objects need not depend on it.
        "CCACHE_NOHASHDIR": "1",
        # If ccache needs the preprocessor for an answer, it compiles instead: that saves a fifth of the time of all other files.
        "CCACHE_DEPEND": "1",
        # A compiler that returns memory and takes it again flushes translations each time, which is slow if page tables are emulated.
        "MALLOC_TOP_PAD_": 64 << 20, "MALLOC_TRIM_THRESHOLD_": 1 << 30,
        # The kernel's banner is the same each time, and so is everything that includes it.
        "KBUILD_BUILD_TIMESTAMP": date, "KBUILD_BUILD_USER": "queue",
        "KBUILD_BUILD_HOST": re.sub(r"\W+", "-", identity.split("<")[0].strip().lower()),
        "KBUILD_BUILD_VERSION": "1", "LC_ALL": "C",
    }


def release(tree):
    """The kernel's name, in the form of kernels.toml ("6.12"), of a source @tree."""
    name = config.release(tree / "Makefile")[0]
    if not name:
        raise Failure(f"{tree} is not the top of a kernel tree (no Makefile with VERSION and PATCHLEVEL)")
    return name


def wanted(fragments, kernel, toggles=None):
    """{symbol: value} of the named fragments in configs/ for @kernel; @toggles "n" turns all of them off, a dict some.

    NAME.KERNEL.config beside NAME.config overrides it where @kernel differs.
    """
    options = {}
    for name in fragments:
        path = CONFIGS / name
        options.update(fragment(path))
        overlay = path.with_suffix(f".{kernel}{path.suffix}")
        if overlay.exists():
            options.update(fragment(overlay))
    if toggles is not None:
        options.update(toggles if isinstance(toggles, dict) else dict.fromkeys(options, toggles))
    return options


def resolved(obj):
    """{symbol: value} of a .config; options that are off or unknown are absent."""
    text = (obj / ".config").read_text(encoding="utf-8")
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def fragment(path):
    """{symbol: value} of a file; "n" is for options that have to be off, or unknown to the kernel."""
    options = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"# (CONFIG_\w+) is not set", line):
            options[match[1]] = "n"
        elif match := re.fullmatch(r"(CONFIG_\w+)=(.*)", line):
            options[match[1]] = match[2]
        elif line and not line.startswith("#"):
            raise Failure(f"{path}: not a line of a configuration: {line!r}")
    return options


class Kbuild:
    """make in a kernel @tree, with its objects in @obj."""

    def __init__(self, tree, obj=None, *, arch="x86_64", cross="", env=None, suffix="", log=None, compiler=None):
        self.tree = Path(tree)
        self.obj = Path(obj) if obj else self.tree / ".obj"
        self.log = log or config.BUILD / "log" / f"build-{self.tree.parent.name}-{self.tree.name}.log"
        self.env = {**environment(), **(env or {})}
        # If hardly anything is compiled twice, as in CI, ccache only costs time.
        launcher = "" if os.environ.get("CCACHE_DISABLE") else "ccache "
        self.command = ["make", "-C", self.tree, f"O={self.obj}", f"-j{os.cpu_count() or 1}",
                        f"ARCH={arch}", f"CROSS_COMPILE={cross}", f"CC={launcher}{compiler or f'{cross}gcc'}", f"LOCALVERSION={suffix}"]

    def make(self, *targets, what, progress=False, env=None):
        self.obj.mkdir(parents=True, exist_ok=True)
        done = threading.Event()
        watcher = threading.Thread(target=self.show, args=(done,), daemon=True)
        if progress:
            watcher.start()
        try:
            steps.run([*self.command, *targets], log=self.log, what=what, env={**self.env, **(env or {})})
        finally:
            done.set()

    def show(self, done):
        """Report the progress of the build at intervals."""
        start = self.log.stat().st_size if self.log.exists() else 0
        while not done.wait(PROGRESS_SECONDS):
            with open(self.log, "rb") as file:
                file.seek(start)
                lines = [line for line in file.read().splitlines() if line.startswith(b"  ")]
            if lines:
                steps.say(f"    {len(lines)} files built, now {lines[-1].split()[-1].decode(errors='replace')}")

    def configure(self, options, optional=()):
        """Set @options {symbol: value} and nothing else; an error names those that the kernel did not accept.

        Those in @optional may be missing, because this kernel may not have them.
        """
        self.obj.mkdir(parents=True, exist_ok=True)
        fragment = self.obj / "wanted.config"
        fragment.write_text("".join(f"# {name} is not set\n" if value == "n" else f"{name}={value}\n"
                                    for name, value in options.items()), encoding="utf-8")
        # Run each time: it takes two seconds and does not touch .config if the result is the same.
        self.make("allnoconfig", what=f"configuring {self.tree}", env={"KCONFIG_ALLCONFIG": fragment})
        real = resolved(self.obj)
        missing = [f"{name}={value} (is {real.get(name, 'n')})" for name, value in options.items()
                   if name not in optional and real.get(name, "n") != value]
        if missing:
            raise Failure(f"{self.tree} did not take {', '.join(missing)}; correct {CONFIGS}: an option "
                          f"that this one depends on is missing, or this kernel calls it otherwise (a file "
                          f"NAME.{release(self.tree)}.config overrides NAME.config there)")


def image(source, *, kind="guest", toggles=None, suffix="", toggles_optional=False, log=None, place=None):
    """Configure and build a guest kernel of that @kind from the tree @source, whatever it is; returns an Image.

    @toggles: "n" turns all of the queue's off, {symbol: "n"} some. With @toggles_optional the tree need not know them. @place:
    directory of the objects in the tree, if it is not that of the kind.
    """
    how = KINDS[kind]
    cross, env = debian.cross_compiler() if how.arch == "arm64" else ("", None)
    kbuild = Kbuild(source, Path(source) / (place or how.place), arch=how.arch, cross=cross, env=env, suffix=suffix, log=log)
    kernel = release(kbuild.tree)
    ours = wanted([TOGGLES], kernel, toggles)
    if not how.modules:
        ours = {name: value for name, value in ours.items() if not name.endswith("_KUNIT_TEST") and "_SAMPLE_" not in name}
    built = Image(kbuild.tree, kbuild.obj, kind)
    with steps.step(f"building {kbuild.obj}{suffix and f' as {suffix[1:]}'} (log: {kbuild.log})"):
        kbuild.configure({**wanted(how.fragments, kernel), **ours}, optional=ours if toggles_optional else ())
        kbuild.make(built.bootable.name, *(["modules"] if how.modules else []), what=f"building {kbuild.tree}", progress=True)
    return built
