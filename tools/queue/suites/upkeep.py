# SPDX-License-Identifier: GPL-2.0
"""`make upkeep`: tries each patch on each point release that the suites list, using only the touched files.

    exact       each hunk applies at its line
    offset      some hunk applies elsewhere
    there       the release has it already
    FAILS       a hunk does not apply, or a patch that this one needs fails

Only the files that the queue touches are unpacked from a package; they stay in build/upkeep. A neighbour, that is, a
release of an unsupported series, is tried with the patches of the nearest supported kernel. out/report/upkeep.json has
the same results as the output. Exit status 1: a patch fails on the newest release of a supported kernel.
"""

import json
import shutil
from dataclasses import dataclass, field

from base import config, gitcmd, steps
from base.steps import Failure, say
from lab import debian, source
from weave import mails, tree

HERE = config.BUILD / "upkeep"
REPORT = config.OUT / "report" / "upkeep.json"
EXACT, OFFSET, THERE, FAILS = "exact", "offset", "there", "FAILS"
VERDICTS = (EXACT, OFFSET, THERE, FAILS)


@dataclass
class Release:
    """A point release, the supported @kernel whose patches are tried on it, and how each of these fares."""

    name: str               # its series, "6.12"
    package: str
    version: str
    kernel: config.Kernel
    newest: bool            # of its series
    verdicts: dict = field(default_factory=dict)        # path of the patch -> (verdict, why)
    missing: str = ""       # why there is none

    @property
    def supported(self):
        return self.name == self.kernel.name

    def count(self, verdict):
        return sum(found == verdict for found, _ in self.verdicts.values())


def main(queue, kernels, which=""):
    """Try the patches for @kernels; with @which "newest" only on the newest release of each series."""
    if which not in ("", source.NEWEST):
        raise Failure(f"SOURCE={which}: upkeep takes all releases, or with SOURCE={source.NEWEST} the newest")
    debian.deps()
    found = releases(queue, kernels)
    if which == source.NEWEST:
        found = [release for release in found if release.newest]
    missing = [kernel for kernel in kernels if not any(release.name == kernel.name for release in found)]
    for kernel in missing:
        steps.note(source.gone(kernel))
    # The newest first: the user waits for these.
    found.sort(key=lambda release: (not release.newest, not release.supported))
    for number, release in enumerate(found, 1):
        try:
            release.verdicts = judge(queue, release.kernel, files(queue, release))
        except Failure as failure:
            release.missing = str(failure)
            say(f"[{number}/{len(found)}] {release.name} {release.version}: {failure}")
            continue
        counts = ", ".join(f"{release.count(verdict)} {verdict}" for verdict in VERDICTS if release.count(verdict))
        say(f"[{number}/{len(found)}] {release.name} {release.version}: {counts}")
    report(queue, found)
    broken = [release for release in found if release.newest and release.supported and (release.count(FAILS) or release.missing)]
    for release in broken:
        say(f"error: {release.version}, the newest {release.name}: {release.missing or f'{release.count(FAILS)} patches fail'}")
    return 1 if broken or missing else 0


def releases(queue, kernels):
    """The releases that the suites list for @kernels and, if these are all kernels, for neighbours; newest of a series first."""
    # Neighbours are the other packages whose names match this pattern.
    names = debian.names(r"^linux-source-[0-9]+\.[0-9]+$")
    found = []
    for package in sorted(names, key=lambda name: position(name.rpartition("-")[2])):
        name = package.rpartition("-")[2]
        kernel = nearest(queue, name)
        if kernel not in kernels:
            continue
        versions = debian.listed(package)
        found += [Release(name, package, version, kernel, version == versions[0]) for version in versions]
    return found


def position(name):
    return tuple(map(int, name.split(".")))


def nearest(queue, name):
    """The supported kernel that is the fewest releases away; the newer one if there are two."""
    def number(name):
        major, minor = position(name)
        return major * 20 + minor       # after 5.19 came 6.0, after 6.19 7.0

    return min(reversed(queue.kernels), key=lambda kernel: abs(number(kernel.name) - number(name)))


def files(queue, release):
    """A git tree of one commit, tag `base`, with those files of that release that the queue touches; returns its git."""
    patches = mails.woven(queue, release.kernel)
    wanted = sorted({path for woven in patches for path in woven.edits})
    place = HERE / f"{release.package.removeprefix('linux-source-')}_{release.version}"
    listing = place / "wanted"
    if listing.exists() and listing.read_text(encoding="utf-8").split() == wanted:
        return gitcmd.own(place / "tree", queue)
    shutil.rmtree(place, ignore_errors=True)
    scratch = HERE / "package"
    archive = debian.download([f"{release.package}={release.version}"], scratch)[0]
    (place / "tree").mkdir(parents=True)
    extract(archive, release.name, wanted, place / "tree")
    shutil.rmtree(scratch)
    git = gitcmd.own(place / "tree", queue)
    git("init", "--quiet", "--initial-branch=pristine")
    git("add", "--all", "--force")
    git("commit", "--quiet", "-m", f"{release.package} {release.version}")
    git("tag", "base")
    listing.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    return git


def extract(deb, name, wanted, dest):
    """Unpack the files @wanted of a linux-source package: a tar in a tar, unpacked through pipes without a copy on the disk."""
    top = f"linux-source-{name}"
    chain = (["dpkg-deb", "--fsys-tarfile", deb],
             ["tar", "-xOf", "-", f"./usr/src/{top}.tar.xz"],
             ["xz", "--decompress", "--stdout", "--threads=0"],
             ["tar", "-xf", "-", "-C", dest, "--strip-components=1", *(f"{top}/{path}" for path in wanted)])
    *first, last = steps.pipeline(chain)
    # tar's status is 2 for the new files of the queue, which no kernel has.
    if any(status for status, _ in first) or not any(dest.iterdir()):
        raise Failure(f"unpacking {deb}: {' '.join(text.strip() for _, text in (*first, last))}"[:2000])


def judge(queue, kernel, git):
    """{path of each patch for @kernel: (verdict, why)} on the tree in @git."""
    found = {}
    patches = mails.woven(queue, kernel)
    done = tree.stack(git, git.commit("refs/tags/base"), kernel, patches, queue, rehearsal=True)
    for woven in patches:
        path = woven.patch.path
        moved = [text for text in done.offsets if text.startswith(tuple(f"{place}:" for place in places(woven.patch, kernel)))]
        if path in done.there:
            found[path] = THERE, ""
        elif path in done.left:
            found[path] = FAILS, done.left[path].splitlines()[0]
        else:
            found[path] = (OFFSET, f"{len(moved)} hunks") if moved else (EXACT, "")
    return found


def places(patch, kernel):
    return patch.path, *map(patch.variant_path, patch.chain(kernel.name))


def report(queue, found):
    """A table to read, and JSON."""
    columns = sorted(found, key=lambda release: position(release.name))
    say("\nPoint releases: how many patches are exact, at an offset, there already, failing")
    for release in columns:
        numbers = release.missing.partition("\n")[0] or "  ".join(f"{release.count(verdict):>3} {verdict}" for verdict in VERDICTS)
        say(f"    {release.name:>5} {release.version:<22} {numbers}"
            f"{'' if release.supported else f'   (neighbour, patches of {release.kernel.name})'}")
    failing = {}
    for release in columns:
        for path, (verdict, why) in release.verdicts.items():
            if verdict == FAILS:
                failing.setdefault((path, why), []).append(release.version)
    if failing:
        say("\nWhat fails, and where:")
    for (path, why), versions in failing.items():
        say(f"    {tree.named(path, why)}\n        {' '.join(versions)}")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([
        {"series": release.name, "version": release.version, "patches_of": release.kernel.name, "newest": release.newest,
         "missing": release.missing, "patches": {path: {"verdict": verdict, "why": why} for path, (verdict, why) in release.verdicts.items()}}
        for release in columns], indent=1) + "\n", encoding="utf-8")
    say(f"\nAll of it: {REPORT}")
