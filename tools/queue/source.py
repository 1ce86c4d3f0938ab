# SPDX-License-Identifier: GPL-2.0
"""Kernel sources, from Debian's linux-source packages.

build/KERNEL/pristine is a git tree of one commit, tag `base`, whose message names the Debian
version; build/tools/PACKAGE holds the newest kernel's scripts, which check all kernels.
"""

import re
import shutil
from pathlib import Path

import config
import debian
import gitcmd
import steps

# Of the newest kernel: checkpatch, kernel-doc and kunit.py, with what they import.
TOOLS = ("scripts", "tools/testing/kunit", "tools/docs", "tools/lib/python")


def tarball(package, suite, dest):
    """Unpack the Debian @package into @dest; returns the path of the source in it."""
    debian.fetch([package], suite, dest)
    return next(dest.glob("usr/src/linux-source-*.tar.xz"))


def pristine(kernel):
    """Make build/KERNEL/pristine if it is not there; returns its path."""
    path = kernel.pristine
    if path.exists():
        restore_files(kernel)
        return path
    version = debian.newest(kernel.package, kernel.suite)
    if version != kernel.version:
        steps.note(f"{kernel.suite} now has {kernel.package} {version}; tested was {kernel.version}. "
                   f"If the patches still apply, put the new version into kernels.toml.")
    part = path.with_name("pristine.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    package = kernel.build / "package"
    with steps.step(f"getting {kernel.package} {version}"):
        archive = tarball(kernel.package, kernel.suite, package)
    with steps.step(f"unpacking it into {path}"):
        steps.run(["tar", "-xf", archive, "-C", part, "--strip-components=1"], what=f"unpacking {archive}")
        git = gitcmd.own(part, config.queue())
        git("init", "--quiet", "--initial-branch=pristine")
        # --force: everything that Debian ships is the source, whatever the kernel's .gitignore says.
        # What is taken for a large file goes into a pack at once: 80,000 files of their own take twice the room.
        git.configured("core.bigFileThreshold=1", "pack.compression=1")("add", "--all", "--force")
        date = {"GIT_AUTHOR_DATE": config.DATE, "GIT_COMMITTER_DATE": config.DATE}
        git("commit", "--quiet", "-m", f"{kernel.package} {version}", env=date)
        git("tag", "base")
    # Under its name only when complete.
    part.rename(path)
    shutil.rmtree(package)
    return path


def drop_files(kernel):
    """Take the unpatched files off the disk until the next pristine(): git has them."""
    git = gitcmd.own(kernel.pristine, config.queue())
    git("update-index", "-q", "--refresh")      # files that git is not sure of stay
    git("sparse-checkout", "set", "--no-cone", "/Makefile")


def restore_files(kernel):
    git = gitcmd.own(kernel.pristine, config.queue())
    if git.attempt("config", "--get", "core.sparseCheckout")[1].strip() == "true":
        git("sparse-checkout", "disable")


@steps.serial
def tools_tree():
    """Path of the newest kernel's scripts; gets them if they are not there."""
    tools = config.TOOLS
    path = config.BUILD / "tools" / re.sub(r"^linux-source-", "linux-", tools["package"])
    if path.exists():
        return path
    package = config.BUILD / "tools" / "package"
    with steps.step(f"getting the tools of {tools['package']}"):
        archive = tarball(tools["package"], tools["suite"], package)
        part = path.with_name(path.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        top = Path(archive.name).name.removesuffix(".tar.xz")
        steps.run(["tar", "-xf", archive, "-C", part, "--strip-components=1",
                   *(f"{top}/{name}" for name in TOOLS)], what=f"unpacking {archive}")
        part.rename(path)
        shutil.rmtree(package)
    return path
