# SPDX-License-Identifier: GPL-2.0
"""Kernel sources: Debian's linux-source packages, or the user's own tree or tarball.

build/KERNEL/pristine is a git tree of one commit, tag `base`, whose subject says what it is:

    linux-source-5.10 5.10.262-1                    a Debian package
    linux 5.10.259 from v5.10.259 of /home/u/linux  what FROM= named

The tested version is taken if one of the suites lists it; otherwise, or with SOURCE=newest, the newest version. A source
that FROM= named stays until SOURCE= is given. build/tools has the newest kernel's scripts, which check all kernels.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from base import config, gitcmd, origin, steps
from base.steps import Failure
from lab import debian

# Files of the newest kernel: checkpatch, kernel-doc and kunit.py, with what they import.
TOOLS = ("scripts", "tools/testing/kunit", "tools/docs", "tools/lib/python")
TESTED, NEWEST = "tested", "newest"
GONE = config.BUILD / "gone"        # packages that are listed, but whose files the mirror has removed


@dataclass(frozen=True)
class Wanted:
    """A source to work with: @why it is not the tested one, or ""; @there: whether it is unpacked already."""

    version: str
    why: str
    there: bool


def wanted(kernel, which=""):
    """The source to take: @which is TESTED, NEWEST, or "" for the tested one or what FROM= named."""
    package, version = origin.recorded(config.queue(), kernel)
    if package == origin.OWN and not which:
        return Wanted(version, "given by FROM=", True)
    if version == kernel.version and package != origin.OWN and which != NEWEST:
        return Wanted(version, "", True)
    versions = listed(kernel)
    if not versions:
        if version and not which:
            return Wanted(version, "which is here; Debian has none any more", True)
        raise Failure(gone(kernel))
    taken = kernel.version if kernel.version in versions and which != NEWEST else versions[0]
    why = "" if taken == kernel.version else "the newest" if which == NEWEST else "the newest, since Debian no longer has the tested one"
    return Wanted(taken, why, (package, version) == (kernel.package, taken))


def gone(kernel):
    left = [suite for suite in kernel.suites if debian.gone(suite)]
    why = f"{' '.join(left)} has left this machine's mirror" if left else f"{' '.join(kernel.suites)} no longer has one"
    return (f"there is no {kernel.package}: {why}. Give a source of your own, a git tree (such as kernel.org's stable "
            f"tree) or a tarball of any {kernel.name}.y:\n    make source KERNEL={kernel.name} FROM=~/linux\n"
            f"All other commands then use that source.")


def announce(kernels, which=""):
    """Say which sources are not the tested ones; a command says this first."""
    if which not in ("", TESTED, NEWEST):
        raise Failure(f"SOURCE={which}: there is SOURCE={TESTED} and SOURCE={NEWEST}")
    for kernel in kernels:
        try:
            source = wanted(kernel, which)
        except Failure:
            continue        # reported when it is needed
        if source.why:
            steps.note(f"the source of {kernel.name} is {source.version} ({source.why}); tested was {kernel.version}")


def get(kernel, which=""):
    """Make sure that build/KERNEL/pristine is the source that wanted() names; returns its path."""
    source = wanted(kernel, which)
    if source.there:
        restore_files(kernel)
        return kernel.pristine
    package = kernel.build / "package"
    with steps.step(f"getting {kernel.package} {source.version}"):
        try:
            archive = tarball(kernel.package, source.version, package)
        except debian.Gone as failure:
            pass_over(kernel, source.version, failure)
            archive = None
    if archive is None:
        announce([kernel], which)
        return get(kernel, which)
    unpack(kernel, archive, f"{kernel.package} {source.version}")
    shutil.rmtree(package)
    return kernel.pristine


def pass_over(kernel, version, failure):
    """Make listed() leave out a version from now on, because getting it failed with @failure."""
    steps.note(str(failure))
    GONE.parent.mkdir(parents=True, exist_ok=True)
    with open(GONE, "a", encoding="utf-8") as file:
        file.write(f"{kernel.package} {version}\n")


def listed(kernel):
    """The versions that any suite lists and that the mirror is not known to have removed, newest first."""
    removed = GONE.read_text(encoding="utf-8").splitlines() if GONE.exists() else []
    return [version for version in debian.listed(kernel.package) if f"{kernel.package} {version}" not in removed]


def tarball(package, version, dest):
    """Unpack that Debian package into @dest; returns the path of the source in it."""
    debian.unpack([f"{package}={version}"], dest)
    return next(dest.glob("usr/src/linux-source-*.tar.xz"))


def unpack(kernel, archive, subject):
    """Make build/KERNEL/pristine from a tar @archive; "{}" in @subject stands for the release in its Makefile."""
    path = kernel.pristine
    part = path.with_name("pristine.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with steps.step(f"unpacking it into {path}"):
        steps.run(["tar", "-xf", archive, "-C", part, "--strip-components=1"], what=f"unpacking {archive}")
        name, release = config.release(part / "Makefile")
        inside = list(part.iterdir())
        if not name and len(inside) == 1:       # an archive of ./linux-5.10/...
            inside[0].rename(part.with_name("pristine.inside"))
            part.rmdir()
            part.with_name("pristine.inside").rename(part)
            name, release = config.release(part / "Makefile")
        if name != kernel.name:
            shutil.rmtree(part)
            raise Failure(f"{archive} is {f'Linux {name}' if name else 'no kernel source'}, not {kernel.name}")
        git = gitcmd.own(part, config.queue())
        shutil.rmtree(part / ".git", ignore_errors=True)
        git("init", "--quiet", "--initial-branch=pristine")
        # --force: everything in the archive is source, whatever the kernel's .gitignore says.
        # git writes files that it considers large directly into a pack: 80,000 separate files would take twice the room.
        git.configured("core.bigFileThreshold=1", "pack.compression=1")("add", "--all", "--force")
        date = {"GIT_AUTHOR_DATE": config.DATE, "GIT_COMMITTER_DATE": config.DATE}
        git("commit", "--quiet", "-m", subject.format(release), env=date)
        git("tag", "base")
    # Renamed only when complete.
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)


def take(kernel, place):
    """Make build/KERNEL/pristine from the user's git tree or tarball at @place."""
    place = Path(place).expanduser().absolute()
    if place.is_file():
        unpack(kernel, place, f"{origin.OWN} {{}} from {place}")
    elif place.is_dir():
        git = gitcmd.users(place).configured("safe.directory=*")
        revision = find_revision(kernel, git)
        archive = kernel.build / "source.tar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with steps.step(f"taking {revision} of {place}"):
            git("archive", "--format=tar", "--prefix=linux/", f"--output={archive}", revision)
        unpack(kernel, archive, f"{origin.OWN} {{}} from {revision} of {place}")
        archive.unlink()
    else:
        raise Failure(f"FROM={place} is neither a git tree nor a tarball")
    return kernel.pristine


def find_revision(kernel, git):
    """The revision of the user's tree for that kernel: HEAD, the tag of the tested or the newest release, or a branch."""
    if not git.commit("HEAD"):
        raise Failure(f"{git.directory} is no git tree with a commit; FROM= takes one, or a tarball")
    name, _ = config.parse_release(git.attempt("show", "HEAD:Makefile")[1])
    if name == kernel.name:
        if git.attempt("status", "--porcelain", "--untracked-files=no")[1]:     # a bare one has no files
            steps.note(f"the uncommitted changes of {git.directory} are not taken")
        return "HEAD"
    tags = [tag for tag in git("tag", "--list", f"v{kernel.name}.*").split() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]
    tags.sort(key=lambda tag: int(tag.rpartition(".")[2]))
    tested = f"v{kernel.version.partition('-')[0]}"
    branches = git("for-each-ref", "--format=%(refname:short)", f"refs/heads/linux-{kernel.name}.y",
                   f"refs/remotes/*/linux-{kernel.name}.y").split()
    found = [tested] * (tested in tags) + tags[-1:] + branches
    if not found:
        raise Failure(f"{git.directory} has Linux {name or '?'} checked out, and neither a tag v{kernel.name}.N nor a "
                      f"branch linux-{kernel.name}.y")
    return found[0]


def drop_files(kernel):
    """Delete the unpatched files until restore_files(), which gets them from git."""
    if not kernel.pristine.exists():
        return
    git = gitcmd.own(kernel.pristine, config.queue())
    git("update-index", "-q", "--refresh")      # git keeps files of whose state it is not sure
    git("sparse-checkout", "set", "--no-cone", "/Makefile")


def restore_files(kernel):
    git = gitcmd.own(kernel.pristine, config.queue())
    if git.attempt("config", "--get", "core.sparseCheckout")[1].strip() == "true":
        git("sparse-checkout", "disable")


@steps.serial
def tools_tree():
    """Path of the newest kernel's scripts; gets them if they are missing."""
    kernel = config.kernels()[-1]
    package, version = origin.recorded(config.queue(), kernel)
    source = Wanted(version, "", True) if package else wanted(kernel)
    path = config.BUILD / "tools" / f"linux-{source.version}"
    if path.exists():
        return path
    scratch = config.BUILD / "tools" / "package"
    with steps.step(f"getting the tools of {source.version}"):
        part = path.with_name(path.name + ".part")
        for stale in (part, scratch):
            shutil.rmtree(stale, ignore_errors=True)
        part.mkdir(parents=True)
        if source.there:
            scratch.mkdir()
            archive = scratch / "tools.tar"
            gitcmd.own(kernel.pristine, config.queue())("archive", "--format=tar", "--prefix=linux/", f"--output={archive}",
                                                        "base", "--", *TOOLS)
            top = "linux"
        else:
            try:
                archive = tarball(kernel.package, source.version, scratch)
            except debian.Gone as failure:
                pass_over(kernel, source.version, failure)
                return tools_tree()
            top = Path(archive.name).name.removesuffix(".tar.xz")
        steps.run(["tar", "-xf", archive, "-C", part, "--strip-components=1", *(f"{top}/{name}" for name in TOOLS)],
                  what=f"unpacking {archive}")
        part.rename(path)
        shutil.rmtree(scratch)
    return path
