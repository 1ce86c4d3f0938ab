# SPDX-License-Identifier: GPL-2.0
"""Everything that comes from Debian: programs for this machine, and packages of other suites.

Programs are installed in the ordinary way. Some packages are not installed: those of other suites
(kernel sources, IGT, sparse), those for another processor (what guests on arm64 run), and those that
would remove others from the machine (the cross compiler conflicts with gcc-multilib). They are
downloaded through a separate apt configuration under build/apt and unpacked under build/. This does
not touch the system's package database and needs no privilege.

The mirror is that of the machine's own apt configuration.

Alternatives to apt's own programs with options were tried. `mmdebstrap --variant=extract` reads the lists again for
each package (22 s for a source that takes 3 s here), unpacks all dependencies, too (299 MB for sparse), stops at a
suite that the mirror no longer has, and lists no versions. chdist (43 more packages) has one suite for each
configuration and sets the same options. python3-apt has one configuration for each process, so that it cannot ask for
arm64 after amd64. It takes 2 s to open its cache, where apt-cache answers in 0.2 s, and it would be one more required
package.
"""

import gzip
import os
import platform
import re
import shutil
from pathlib import Path

from base import config, steps
from base.steps import Failure

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
IGT_SUITE = "forky"         # the first suite that has IGT 2.5 and its tests
SPARSE_SUITE = "forky"      # older ones silently check nothing on a new kernel
DESKTOP_SUITE = "trixie"    # of the programs in desktop.py: Mesa 25.0.7 asks the kernel, 26.1 shows the extensions in any case
FFMPEG_SUITE = "forky"      # trixie's ffmpeg 7.1.5 fails with trixie's Mesa where the kernel has the ioctls; 9.0.2 does not
CLANG = "clang-19"          # 7.3 refuses those before 17
CLANG_SUITE = "bookworm"
# apt's message for a suite that the mirror does not have; for a network failure it has another one.
NO_RELEASE = re.compile(r"E: The repository '\S+ (\S+) Release' (?:does not have|no longer has) a Release file")
XEN = "xen-hypervisor-4.17"
XEN_SUITE = "bookworm"
# What a guest on arm64 runs, and what its programs are linked with.
ARM64 = (f"{XEN}-arm64", "busybox-static", "libc6-dev", "linux-libc-dev")

# What a plain Debian machine lacks, grouped by what needs it.
PACKAGES = (
    # kernel builds
    "build-essential", "flex", "bison", "bc", "libelf-dev", "libssl-dev", "kmod", "cpio", "rsync",
    "xz-utils", "zstd", "ccache", "perl", "python3", "binutils",
    # 32-bit test programs
    "gcc-multilib",
    # the queue itself and its tests
    "git", "python3-pytest", "codespell", "coccinelle", "python3-git", "python3-ply", "man-db", "mandoc",
    # guests
    "qemu-system-x86", "qemu-system-arm", "busybox-static", "device-tree-compiler",
)

BENCH = ("gnuplot-nox",)        # only for `make bench`: the plots
WAYLAND = ("libwayland-bin", "libwayland-dev", "wayland-protocols")     # only for `make run DEMO=xen-desktop`
BROWSER = ("chromium-headless-shell",)      # only for `make check-full`, which tests its own page: 64 MB
SPHINX = ("python3-sphinx", "python3-sphinx-rtd-theme")     # only for its suite `docs`


def installed(packages):
    """The set of those @packages that are installed."""
    status, stdout, _ = steps.attempt(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n",
                                       *packages])
    if status not in (0, 1):    # 1: some are unknown to dpkg
        raise Failure("dpkg-query does not work: this needs a Debian machine (12 or newer)")
    return {line.split()[0] for line in stdout.splitlines() if line.endswith(" installed")}


def deps(more=()):
    """Install missing packages, including @more; do nothing, silently, if none is missing."""
    wanted = {*PACKAGES, *more}
    missing = sorted(wanted - installed(sorted(wanted)))
    if not missing:
        return
    root = []
    if os.geteuid():
        if not shutil.which("sudo"):
            raise Failure("these packages are missing, and there is no sudo to install them; as root:\n"
                          f"    apt-get install {' '.join(missing)}")
        root = ["sudo"]
    log = config.BUILD / "log" / "deps.log"
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    with steps.step(f"installing {' '.join(missing)}"):
        steps.run([*apt, "update"], log=log, what="reading the package lists")
        steps.run([*apt, "install", "--yes", "--no-install-recommends", *missing], log=log,
                  what="installing packages")


def codename():
    name = platform.freedesktop_os_release().get("VERSION_CODENAME")
    if not name:
        raise Failure("/etc/os-release has no VERSION_CODENAME: this needs a released Debian")
    return name


def sites():
    """(site of the main archive, site of the security archive) in the machine's own apt configuration."""
    # This needs no package lists; `apt-get indextargets` only shows lists that exist, and a new machine has none.
    uris = steps.run(["apt-get", "update", "--print-uris"], what="asking apt for its sources")
    found = {}
    for site, release in re.findall(r"^'(\S+)/dists/(\S+)/main/", uris, re.MULTILINE):
        found.setdefault(release, site)
    # Debian's codename first: other sources (a browser's, for example) may have a `stable`, too.
    names = (codename(), "stable", "oldstable", "testing", "sid", "unstable")
    main = next((found[name] for name in names if name in found), None)
    if main is None:
        raise Failure(f"apt has no source for Debian {codename()}; add one to /etc/apt/sources.list")
    security = next((site for release, site in found.items() if "-security" in release), None)
    return main, security or main.rstrip("/") + "-security"


def suites():
    wanted = [suite for kernel in config.kernels() for suite in kernel.suites]
    wanted += [IGT_SUITE, SPARSE_SUITE, FFMPEG_SUITE, CLANG_SUITE, XEN_SUITE, codename()]
    return sorted(set(wanted))


class Gone(Failure):
    """A package that a suite lists although the mirror has removed its file."""


class Apt:
    """apt with its own lists and cache, in which nothing is installed. Packages are named as for apt-get."""

    def __init__(self, architecture, name, suites):
        self.architecture = architecture
        self.suites = suites
        self.dir = config.BUILD / name
        self.conf = self.dir / "apt.conf"
        self.log = config.BUILD / "log" / f"{name}.log"
        self.left = None        # suites that the mirror no longer has: known after the package lists are read

    def sources(self):
        main, security = sites()
        return "".join(f"deb [signed-by={KEYRING}] {security if '-security' in suite else main} {suite} main\n"
                       for suite in self.suites())

    def setup(self):
        """Write the configuration and read the package lists, once a run."""
        if self.left is not None:
            return
        if not Path(KEYRING).exists():
            raise Failure(f"{KEYRING} is missing; install debian-archive-keyring")
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "sources.list").write_text(self.sources(), encoding="utf-8")
        # apt reads this after the system's own configuration (for a proxy, for example), which may turn off the cache of all
        # lists: a query then takes seconds, not tenths of a second. A suite without support keeps its last Release file,
        # which expires, but its signature is still valid.
        self.conf.write_text(f'''\
Dir::State "{self.dir}";
Dir::State::status "/dev/null";
Dir::Cache "{self.dir}";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{self.dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "{self.architecture}";
APT::Architectures {{ "{self.architecture}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
''', encoding="utf-8")
        self.left = self.update()

    def update(self):
        """Read the package lists; returns the suites that the mirror no longer has, which must not make the others fail."""
        status, stdout, stderr = steps.attempt(["apt-get", "-c", self.conf, "update", "--error-on=any"], env={"LC_ALL": "C"})
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text(stdout + stderr, encoding="utf-8", errors="replace")
        errors = [line for line in stderr.splitlines() if line.startswith("E:")]
        left = {match[1] for line in errors for match in [NO_RELEASE.match(line)] if match}
        if (status and not errors) or len(left) < len(errors) or left >= set(self.suites()):
            raise Failure("\n".join([f"reading the package lists failed, see {self.log}:", *errors]))
        for suite in left:      # older lists are stale
            for stale in (self.dir / "lists").glob(f"*_dists_{suite}_*"):
                stale.unlink()
        return left

    @steps.serial
    def gone(self, suite):
        """Whether the mirror lacks @suite."""
        self.setup()
        return suite in self.left

    def read(self, program, *args):
        """The lines that an apt program prints."""
        self.setup()
        return steps.run([program, "-c", self.conf, *args], what="asking apt").splitlines()

    @steps.serial
    def listed(self, package):
        """The versions of @package in any suite, newest first."""
        return list(dict.fromkeys(line.split("|")[1].strip() for line in self.read("apt-cache", "madison", package)))

    @steps.serial
    def suites_of(self, package):
        """The suites that list @package."""
        lines = self.read("apt-cache", "madison", package)
        return list(dict.fromkeys(re.search(r" (\S+)/main ", line.split("|")[2])[1] for line in lines))

    @steps.serial
    def names(self, pattern):
        """Packages of any suite whose name fits the regular expression."""
        return sorted({line.split()[0] for line in self.read("apt-cache", "search", "--names-only", pattern)})

    @steps.serial
    def closure(self, packages, suite):
        """@packages and everything that they depend on, from @suite."""
        # Nothing is installed in this configuration, so the closure is what apt would download. One line for each package:
        # 'URI' NAME_VERSION_ARCH.deb SIZE HASH. --simulate says it, too, but does not use the cache.
        lines = self.read("apt-get", "--print-uris", "-t", suite, "install", *packages)
        return sorted(line.split()[1].partition("_")[0] for line in lines if line.startswith("'"))

    @steps.serial
    def fetch(self, packages, suite, dest):
        """Download @packages of @suite and unpack them into the new directory @dest."""
        if self.gone(suite):
            raise Failure(f"no {' '.join(packages)}: the suite {suite} has left this machine's mirror; see {self.log}")
        return self.unpack([f"{package}/{suite}" for package in packages], dest)

    @steps.serial
    def download(self, wanted, place):
        """The files of the packages @wanted, NAME=VERSION or NAME/SUITE, in the new directory @place."""
        self.setup()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        status, stdout, stderr = steps.attempt(["apt-get", "-c", self.conf, "download", *wanted], cwd=place, env={"LC_ALL": "C"})
        with open(self.log, "a", encoding="utf-8", errors="replace") as log:
            log.write(f"$ apt-get download {' '.join(wanted)}\n{stdout}{stderr}")
        if status and re.search(r"^E: Failed to fetch .* 404 ", stderr, re.MULTILINE):
            raise Gone(f"{' '.join(wanted)} is listed, but the mirror no longer has the file")
        if status:
            raise Failure(f"downloading {' '.join(wanted)} failed, see {self.log}:\n{stderr.strip()}")
        return sorted(place.iterdir())

    @steps.serial
    def unpack(self, wanted, dest):
        """Download the packages @wanted and unpack them into the new directory @dest."""
        debs = self.dir / "debs" / dest.name
        # Renamed only when complete, so that an interrupted run starts over.
        part = dest.with_name(dest.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for deb in self.download(wanted, debs):
            steps.run(["dpkg-deb", "-x", deb, part], what=f"unpacking {deb.name}")
        shutil.rmtree(dest, ignore_errors=True)
        part.rename(dest)
        shutil.rmtree(debs)
        return dest


APT = Apt("amd64", "apt", suites)
APT_ARM64 = Apt("arm64", "apt-arm64", lambda: [XEN_SUITE, DESKTOP_SUITE])
# The functions of the first that other modules use.
gone, listed, suites_of, names, closure, fetch, download, unpack = (
    APT.gone, APT.listed, APT.suites_of, APT.names, APT.closure, APT.fetch, APT.download, APT.unpack)


@steps.serial
def cross_compiler():
    """The arm64 compiler in build/cross: the prefix of its programs, and the environment they need."""
    root = config.BUILD / "cross"
    if not root.exists():
        with steps.step("getting the arm64 cross compiler"):
            # The packages that it shares with this machine's own compiler of the same version are installed.
            packages = [name for name in closure(["gcc-aarch64-linux-gnu"], codename())
                        if "aarch64-linux-gnu" in name or name.endswith("-arm64-cross")]
            fetch(packages, codename(), root)
    return root / "usr/bin/aarch64-linux-gnu-", {"LD_LIBRARY_PATH": root / "usr/lib/x86_64-linux-gnu"}


@steps.serial
def arm64():
    """A directory with the packages ARM64, unpacked: a sysroot, and more."""
    root = config.BUILD / "arm64"
    if not root.exists():
        with steps.step("getting Xen, busybox and the C library for arm64"):
            APT_ARM64.fetch(ARM64, XEN_SUITE, root)
    return root


@steps.serial
def xen(arch):
    """The file of the hypervisor for @arch that QEMU accepts: the image of arm64, unpacked for x86-64."""
    if arch == "arm64":
        return one(arm64() / "boot", "xen-*-arm64")
    root = config.BUILD / "xen"
    if not root.exists():
        with steps.step(f"getting {XEN}-amd64 from {XEN_SUITE}"):
            fetch([f"{XEN}-amd64"], XEN_SUITE, root)
    packed = one(root / "boot", "xen-*-amd64.gz")
    unpacked = packed.with_suffix(".elf")
    if not unpacked.exists():
        unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    return unpacked


def one(directory, pattern):
    """The only file in @directory that matches @pattern."""
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise Failure(f"{directory} has {len(found)} files {pattern}, not one; remove {directory.parent} and try again")
    return found[0]


@steps.serial
def clang():
    """The program of a clang that the newest kernel accepts, and the environment it needs."""
    root = config.BUILD / "clang"
    if not root.exists():
        with steps.step(f"getting {CLANG} from {CLANG_SUITE}"):
            packages = closure([CLANG], CLANG_SUITE)
            # The C library, binutils and the like are those of this machine.
            fetch(sorted(set(packages) - installed(packages)), CLANG_SUITE, root)
    return root / "usr" / "bin" / CLANG, {"LD_LIBRARY_PATH": root / "usr" / "lib" / "x86_64-linux-gnu"}


@steps.serial
def sparse():
    """Command of a sparse that understands new kernels, with the C library it was built for."""
    root = config.BUILD / "sparse"
    if not (root / "usr" / "bin" / "sparse").exists():
        with steps.step(f"getting sparse from {SPARSE_SUITE}"):
            fetch(["sparse", "libc6"], SPARSE_SUITE, root)
    loader = next(root.glob("**/ld-linux-x86-64.so.2"))
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    return [loader, "--library-path", libraries, root / "usr" / "bin" / "sparse"]
