# SPDX-License-Identifier: GPL-2.0
"""Everything that comes from Debian: programs for this machine, and packages of other suites.

Programs are installed in the ordinary way. Packages of other suites (kernel sources, IGT, sparse),
of another processor (what guests on arm64 run) and those that would push others off the machine
(the cross compiler conflicts with gcc-multilib) are downloaded through an apt configuration of our own under build/apt and unpacked under build/;
the system's package database is not touched, and no privilege is needed.

Where the mirror is, is the machine's business: it is read from its own apt configuration.
"""

import gzip
import os
import re
import shutil
from pathlib import Path

from base import config, steps
from base.steps import Failure

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
IGT_SUITE = "forky"         # the first suite that has IGT 2.5 and its tests
SPARSE_SUITE = "forky"      # older ones silently check nothing on a new kernel
CLANG = "clang-19"          # 7.3 refuses those before 17
CLANG_SUITE = "bookworm"
# What apt says of a suite that the mirror does not have; of a network that does not work it says something else.
NO_RELEASE = re.compile(r"E: The repository '\S+ (\S+) Release' (?:does not have|no longer has) a Release file")
XEN = "xen-hypervisor-4.17"
XEN_SUITE = "bookworm"
# What a guest on arm64 runs, and what its programs are linked with.
ARM64 = (f"{XEN}-arm64", "busybox-static", "libc6-dev", "linux-libc-dev")

# What a plain Debian machine lacks, by what needs it.
PACKAGES = (
    # kernel builds
    "build-essential", "flex", "bison", "bc", "libelf-dev", "libssl-dev", "kmod", "cpio", "rsync",
    "xz-utils", "zstd", "ccache", "perl", "python3", "binutils",
    # 32-bit test programs
    "gcc-multilib",
    # the queue itself and its tests
    "git", "python3-pytest", "codespell", "coccinelle", "python3-git", "python3-ply",
    # guests
    "qemu-system-x86", "qemu-system-arm", "busybox-static", "device-tree-compiler",
)


def installed(packages):
    """The set of those @packages that are installed."""
    status, stdout, _ = steps.attempt(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n",
                                       *packages])
    if status not in (0, 1):    # 1: some are unknown to dpkg
        raise Failure("dpkg-query does not work: this needs a Debian machine (12 or newer)")
    return {line.split()[0] for line in stdout.splitlines() if line.endswith(" installed")}


def deps():
    """Install what is missing; say and do nothing if nothing is."""
    missing = sorted(set(PACKAGES) - installed(PACKAGES))
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


def targets():
    """(site, release) of every Debian package list in the machine's own apt configuration."""
    lines = steps.run(["apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)",
                       "Created-By: Packages"], what="asking apt for its sources").splitlines()
    found = [line.split("|") for line in lines]
    # The keyring signs Debian's own lists only; others' (a browser's, say) have other components
    # or other releases, and are passed over below.
    return [(site, release) for site, release, component in found if component == "main"]


def codename():
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise Failure("/etc/os-release has no VERSION_CODENAME: this needs a released Debian")


def sites():
    """(site of the main archive, site of the security archive)."""
    known = targets()
    names = (codename(), "stable", "oldstable", "testing", "sid", "unstable")
    main = next((site for site, release in known if release in names), None)
    if main is None:
        raise Failure(f"apt has no source for Debian {codename()}: `apt-get indextargets` lists none; "
                      "add one to /etc/apt/sources.list")
    security = next((site for site, release in known if "-security" in release), None)
    return main, security or main.rstrip("/") + "-security"


def suites():
    wanted = [suite for kernel in config.kernels() for suite in kernel.suites]
    wanted += [IGT_SUITE, SPARSE_SUITE, CLANG_SUITE, XEN_SUITE, codename()]
    return sorted(set(wanted))


class Gone(Failure):
    """A package that a suite lists, and whose file the mirror has removed."""


class Apt:
    """apt with lists, cache and state of its own, in which nothing is installed."""

    def __init__(self, architecture, name, suites):
        self.architecture = architecture
        self.suites = suites
        self.dir = config.BUILD / name
        self.conf = self.dir / "apt.conf"
        self.log = config.BUILD / "log" / f"{name}.log"
        self.fresh = False
        self.left = set()

    def sources(self):
        main, security = sites()
        return "".join(f"deb [signed-by={KEYRING}] {security if '-security' in suite else main} {suite} main\n"
                       for suite in self.suites())

    def setup(self):
        """Write the configuration and read the package lists, once a run."""
        if self.fresh:
            return
        if not Path(KEYRING).exists():
            raise Failure(f"{KEYRING} is missing; install debian-archive-keyring")
        for name in ("lists/partial", "cache/archives/partial", "state", "empty"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        (self.dir / "status").write_text("", encoding="utf-8")
        (self.dir / "sources.list").write_text(self.sources(), encoding="utf-8")
        # A suite out of support keeps its last Release file, which expires: the signature still
        # holds. The system's own configuration (a proxy, say) is read as well.
        self.conf.write_text(f'''\
Dir::State "{self.dir}/state";
Dir::State::lists "{self.dir}/lists";
Dir::State::status "{self.dir}/status";
Dir::Cache "{self.dir}/cache";
Dir::Etc::sourcelist "{self.dir}/sources.list";
Dir::Etc::sourceparts "{self.dir}/empty";
Dir::Etc::preferences "{self.dir}/empty/preferences";
Dir::Etc::preferencesparts "{self.dir}/empty";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "{self.architecture}";
APT::Architectures {{ "{self.architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
''', encoding="utf-8")
        self.left = self.update()
        self.fresh = True

    def update(self):
        """Read the package lists; returns the suites that have left the mirror, which must not take the others with them."""
        status, stdout, stderr = steps.attempt(["apt-get", "update", "--error-on=any"], env={"APT_CONFIG": self.conf, "LC_ALL": "C"})
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text(stdout + stderr, encoding="utf-8", errors="replace")
        errors = [line for line in stderr.splitlines() if line.startswith("E:")]
        left = {match[1] for line in errors for match in [NO_RELEASE.match(line)] if match}
        if (status and not errors) or len(left) < len(errors) or left >= set(self.suites()):
            raise Failure("\n".join([f"reading the package lists failed, see {self.log}:", *errors]))
        for suite in left:      # lists of an earlier time are stale
            for stale in (self.dir / "lists").glob(f"*_dists_{suite}_*"):
                stale.unlink()
        return left

    def gone(self, suite):
        """Whether the mirror does not have @suite, or no longer."""
        self.setup()
        return suite in self.left

    def read(self, *cmd):
        return steps.run(cmd, env={"APT_CONFIG": self.conf}, what="asking apt")

    def listed(self, packages):
        """(package, version, suite) of each of @packages in any suite, a package's newest version first."""
        self.setup()
        found = []
        for line in self.read("apt-cache", "madison", *packages).splitlines():
            name, version, source = (field.strip() for field in line.split("|"))
            found.append((name, version, re.search(r" (\S+)/main ", source)[1]))
        return found

    def versions(self, packages, suite):
        """{package: its newest version in @suite}."""
        found = {}
        for name, version, where in self.listed(packages):
            if where == suite:
                found.setdefault(name, version)
        missing = sorted(set(packages) - set(found))
        if missing:
            why = "has left this machine's mirror" if self.gone(suite) else "does not have them"
            raise Failure(f"no {' '.join(missing)}: the suite {suite} {why}; see {self.log}")
        return found

    def fetch(self, packages, suite, dest):
        """Download @packages of @suite and unpack them into the new directory @dest."""
        return self.unpack(self.versions(packages, suite), dest)

    def download(self, versions, place):
        """The files of the packages {name: version}, in the new directory @place."""
        self.setup()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        wanted = [f"{name}={version}" for name, version in versions.items()]
        status, stdout, stderr = steps.attempt(["apt-get", "download", *wanted], cwd=place,
                                               env={"APT_CONFIG": self.conf, "LC_ALL": "C"})
        with open(self.log, "a", encoding="utf-8", errors="replace") as log:
            log.write(f"$ apt-get download {' '.join(wanted)}\n{stdout}{stderr}")
        if status and re.search(r"^E: Failed to fetch .* 404 ", stderr, re.MULTILINE):
            raise Gone(f"{' '.join(wanted)} is listed, but the mirror no longer has the file")
        if status:
            raise Failure(f"downloading {' '.join(wanted)} failed, see {self.log}:\n{stderr.strip()}")
        return sorted(place.iterdir())

    def unpack(self, versions, dest):
        """Download the packages {name: version} and unpack them into the new directory @dest."""
        debs = self.dir / "debs" / dest.name
        # Appears under its name only when complete, so that an interrupted run starts over.
        part = dest.with_name(dest.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for deb in self.download(versions, debs):
            steps.run(["dpkg-deb", "-x", deb, part], what=f"unpacking {deb.name}")
        shutil.rmtree(dest, ignore_errors=True)
        part.rename(dest)
        shutil.rmtree(debs)
        return dest

    def closure(self, packages, suite):
        """@packages and everything that they depend on, from @suite."""
        self.setup()
        # Nothing is installed in this configuration, so what apt would install is the closure.
        text = self.read("apt-get", "--simulate", "-t", suite, "install", *packages)
        return sorted(line.split()[1] for line in text.splitlines() if line.startswith("Inst "))


APT = Apt("amd64", "apt", suites)
APT_ARM64 = Apt("arm64", "apt-arm64", lambda: [XEN_SUITE])


@steps.serial
def fetch(packages, suite, dest):
    return APT.fetch(packages, suite, Path(dest))


@steps.serial
def closure(packages, suite):
    return APT.closure(packages, suite)


@steps.serial
def listed(packages):
    return APT.listed(packages)


@steps.serial
def names(pattern):
    """Packages of any suite whose name fits the regular expression."""
    APT.setup()
    return sorted({line.split()[0] for line in APT.read("apt-cache", "search", "--names-only", pattern).splitlines()})


@steps.serial
def unpack(versions, dest):
    return APT.unpack(versions, Path(dest))


@steps.serial
def download(versions, place):
    return APT.download(versions, Path(place))


@steps.serial
def gone(suite):
    return APT.gone(suite)


@steps.serial
def cross_compiler():
    """The arm64 compiler in build/cross: the prefix of its programs, and the environment they need."""
    root = config.BUILD / "cross"
    if not root.exists():
        with steps.step("getting the arm64 cross compiler"):
            # What it shares with this machine's own compiler of the same version is installed.
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
    """The file of the hypervisor for @arch as QEMU takes it: arm64's image, x86-64's unpacked."""
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
    """The only file in @directory of that name."""
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
