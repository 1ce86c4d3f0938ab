# SPDX-License-Identifier: GPL-2.0
"""Applies the queue to a user's own kernel tree, by `git am`. Everything that can be checked is checked
before, so that a refusal changes nothing.
"""

import os
import re
import tempfile
from pathlib import Path

from base import config, gitcmd, origin
from base.gitcmd import Git
from base.steps import Failure, say, step
from weave import mails, patchfile, report, series, tree, trial

RECENT = 2000       # commits of the tree's history in which our subjects are looked for
AM = ("--no-scissors", "--whitespace=nowarn")
BLOBS = "refs/queue/blobs"      # what git am -3 merges with


def am(queue, kdir, merging=False, nearest=False, source=None):
    """Apply the queue to the git work tree @kdir.

    With @merging a patch that does not apply is merged three-way with the tested source, which @source(kernel) gets. With
    @nearest a tree between two kernels takes those topics of one of these kernels of which all patches apply.
    """
    if not kdir:
        raise Failure("say which tree: `make am KDIR=~/linux`")
    kdir = Path(kdir).expanduser().absolute()
    name, kernels = find_kernels(queue, kdir, nearest)
    git = gitcmd.users(kdir)
    head = check_work_tree(git, kdir)
    for kernel in kernels:
        patches = mails.woven(queue, kernel)
        if not patches:
            raise Failure(f"the series has no patch for {kernel.name}")
        check_absent(git, kdir, patches)
        if merging and source and not is_there(queue, kernel):
            source(kernel)
    with trial.scratch(git, queue) as dry:
        if name == kernels[0].name:
            done = trial.run(queue, kernels[0], dry, head, name, merging or is_there(queue, kernels[0]))
            bad = done.bad(merging, lenient=merging)
            if bad and merging:
                by_hand(git, head, done, report.conflicts(dry, head, kdir, done))
                return
            if bad:
                raise Failure(report.refusal(dry, head, kdir, done))
        else:
            done = choose(queue, kernels, dry, head, name, kdir, merging)
        apply(git, head, kdir, done, merging, name)


def apply(git, head, kdir, done, merging, name):
    """Run git am on the patches that @done, a Trial, found to apply; say what was done."""
    number = len(done.stack(merging).applied)
    with tempfile.TemporaryDirectory(prefix="queue-") as place, step(f"git am of {number} patches to {kdir}"):
        git_am(git, head, written(place, done.mails(merging)))
    for line in report.merged(done, merging):
        say(line)
    toggles = sorted({toggle for found in toggles_of(done.stack(merging).applied).values() for toggle in found})
    what = f"the topics {' '.join(done.queue.features)}" if done.queue.features else "the queue"
    say(f"{kdir} has {what} for {done.kernel.name} now. `git reset --keep {head[:12]}` takes it out again.\n"
        f"Next: `make olddefconfig` there and build.")
    if name != done.kernel.name:
        say(f"Linux {name} is not tested here: build it, and run KUnit and the kselftests of what went in.")
    if toggles:
        say("The queue's options: " + " ".join(f"CONFIG_{name}" for name in toggles))


def choose(queue, kernels, dry, head, name, kdir, merging):
    """The Trial of the nearest of @kernels, with the topics that apply completely; says which topics do not, and why.

    @kernels are sorted newest first. The nearest is the one of which more topics apply completely; the newer one if equal.
    """
    found = [trial.whole(queue, kernel, dry, head, name, merging, lenient=True) for kernel in kernels]
    counts = [len(series.chosen(done.queue, done.entries)) if done else 0 for done, _ in found]
    at = counts.index(max(counts))
    done, first = found[at]
    say(report.nearest(dry, head, name, kernels, counts, at, done, first, merging))
    if not done:
        raise Failure(f"no topic goes into {kdir} in whole; it was not changed."
                      + ("" if merging else " MERGE=1 with NEAREST=1 merges what does not apply as it is."))
    return done


def written(place, files):
    """The paths of @files, (name, bytes), written to the directory @place."""
    for name, data in files:
        (Path(place) / name).write_bytes(data)
    return [Path(place) / name for name, _ in files]


def is_there(queue, kernel):
    """Whether the tested source is in build/, to merge with."""
    return origin.is_tested(queue, kernel) and bool(gitcmd.own(kernel.pristine, queue).commit("refs/tags/base"))


def by_hand(git, head, done, said):
    """Run git am -3 on all patches that the tree lacks. It stops at the first conflict, and is left in that state."""
    give(git, (done.sides.git, done.sides.all()), (done.git, done.merged_blobs()))
    say(said)
    merged = done.merged_mails()
    skipped = {*done.stack(True).there, *done.dropped}
    patches = [woven for woven in mails.woven(done.queue, done.kernel, known=done.sides.known) if woven.patch.path not in skipped]
    with tempfile.TemporaryDirectory(prefix="queue-") as place:
        files = written(place, [(woven.name, merged.get(woven.patch.path, woven.data)) for woven in patches])
        try:
            with step(f"git am -3 of {len(files)} patches to {git.directory}"):
                status, stdout, stderr = strict(git).attempt("am", *AM, "--3way", *files)
        except BaseException:
            restore(git, head)
            git("update-ref", "-d", BLOBS)
            raise
    if not status:
        git("update-ref", "-d", BLOBS)
        say(f"all of it went in. `git reset --keep {head[:12]}` takes it out again.")
        return
    lines = (stdout + stderr).strip().splitlines()
    begin = max((number for number, line in enumerate(lines) if line.startswith("Applying: ")), default=0)
    left = "\n".join("    " + line for line in lines[begin:] if not line.startswith("hint: "))
    raise Failure(f"git am -3 stopped in {git.directory}. git said:\n{left}\n"
                  f"There, correct the files with conflict markers (`git status` lists them), `git add` them and `git am --continue`;\n"
                  f"or `git am --skip` leaves this patch out; or `git am --abort` takes all of it back, to {head[:12]}.\n"
                  f"The files that git merges with are in the ref {BLOBS}: `git update-ref -d {BLOBS}` when you are done.")


def give(git, *packs):
    """Copy the blobs of each of @packs, (git, ids), into the user's repository, below the ref BLOBS: git am -3 looks for them
    there, also after `git am --continue`."""
    for source, ids in packs:
        if ids:
            git("index-pack", "--stdin", input=source("pack-objects", "--quiet", "--stdout", input="".join(f"{blob}\n" for blob in ids)))
    names = sorted({blob for _, ids in packs for blob in ids})
    git("update-ref", BLOBS, git("mktree", input="".join(f"100644 blob {blob}\t{blob}\n" for blob in names)).strip())


def find_kernels(queue, kdir, nearest):
    """(release of the tree, [the kernel whose patches it takes]); with @nearest [the next newer kernel, the next older one]."""
    name, _ = config.release(kdir / "Makefile")
    if not name or not ((kdir / "Kbuild").exists() or (kdir / "MAINTAINERS").exists()):
        raise Failure(f"{kdir} is not the top of a kernel tree (no Makefile with VERSION and PATCHLEVEL); "
                      f"set KDIR to one")
    same = [kernel for kernel in queue.kernels if kernel.name == name]
    if same:
        return name, same
    newer = [kernel for kernel in queue.kernels if patchfile.version(kernel.name) > patchfile.version(name)]
    older = [kernel for kernel in queue.kernels if kernel not in newer]
    if not newer or not older:
        raise Failure(f"{kdir} is Linux {name}; this queue supports {', '.join(kernel.name for kernel in queue.kernels)}, and with "
                      f"NEAREST=1 what is between them")
    if not nearest:
        raise Failure(f"{kdir} is Linux {name}; this queue supports {', '.join(kernel.name for kernel in queue.kernels)}. "
                      f"`make am KDIR={kdir} NEAREST=1` takes the topics of {newer[0].name} or {older[-1].name} that go in whole; "
                      f"MERGE=1 with it merges what does not apply as it is.")
    return name, [newer[0], older[-1]]


def check_work_tree(git, kdir):
    """Refuse unless @kdir is the clean top of a git work tree; returns HEAD."""
    status, stdout, stderr = git.attempt("rev-parse", "--is-inside-work-tree", "--show-prefix")
    if status or stdout.split("\n")[0] != "true":
        raise Failure(f"{kdir} is not a git work tree"
                      + (f" ({stderr.strip()})" if "dubious" in stderr else "")
                      + "; use a clone, or `patch -p1` with the files of `make series`")
    if stdout.split("\n")[1]:
        raise Failure(f"{kdir} is a directory inside another git tree ({git.line('rev-parse', '--show-toplevel')}); "
                      f"git am would apply the patches there. Give the kernel a git tree of its own.")
    busy = gitcmd.in_progress(git)
    if busy:
        raise Failure(f"{kdir} is in the middle of a {busy}; finish or abort it first")
    head = git.commit("HEAD")
    if not head:
        raise Failure(f"{kdir} has no commit yet; commit the kernel's source first")
    changes = tree.dirty(git)
    if changes:
        lines = changes.split("\n")
        more = [f"... and {len(lines) - 10} more"] if len(lines) > 10 else []
        raise Failure("\n".join([f"{kdir} has uncommitted changes; commit or stash them first:", *lines[:10], *more]))
    # Without useConfigOnly git would derive an address from the host's name.
    if Git(kdir, git.env, ("-c", "user.useConfigOnly=true")).attempt("var", "GIT_COMMITTER_IDENT")[0]:
        raise Failure("git am needs to know who commits: git config --global user.name 'Your Name'; "
                      "git config --global user.email you@example.org")
    return head


def check_absent(git, kdir, patches):
    """Refuse a tree that has the queue, or a part of it, or files in the way."""
    ours = {woven.patch.subject for woven in patches}
    found = [line for line in git("log", f"-{RECENT}", "--format=%s", "HEAD").split("\n") if line in ours]
    if found:
        raise Failure(f"{kdir} has {len(found)} of the queue's {len(ours)} patches already, such as {found[0]!r}; "
                      f"take them out first (git rebase -i, or reset to the commit before them). Another selection: name all of its "
                      f"topics in one FEATURES=")
    created = [path for woven in patches for path, edit in woven.edits.items() if edit.new_mode]
    for path in created:
        if not git.attempt("cat-file", "-e", f"HEAD:{path}")[0]:
            raise Failure(f"{kdir} has {path} already, which the queue brings: the queue, or a part of it, "
                          f"seems to be there; take it out first")
        if os.path.lexists(kdir / path):
            raise Failure(f"{kdir} has an untracked file {path}, where the queue puts one; move it away")
    for path, toggles in toggles_of(patches).items():
        text = git.attempt("show", f"HEAD:{path}")[1]
        for toggle in sorted(toggles):
            if re.search(rf"^(menu)?config {toggle}$", text, re.MULTILINE):
                raise Failure(f"{kdir} has the option {toggle} in {path} already: the queue, or a part of it, "
                              f"seems to be there; take it out first")


def toggles_of(patches):
    """The options that the patches add to files the kernel has: path -> names."""
    toggles = {}
    for woven in patches:
        for path, edit in woven.edits.items():
            names = re.findall(r"^(?:menu)?config (\w+)$", "\n".join(edit.added()), re.MULTILINE)
            if names and Path(path).name.startswith("Kconfig"):
                toggles.setdefault(path, set()).update(names)
    return toggles


def strict(git):
    """git without those settings of the user that would make git am apply something else."""
    return Git(git.directory, git.env, ("-c", "am.threeWay=false", "-c", "am.keepcr=false", "-c", "apply.ignoreWhitespace=no"))


def git_am(git, head, files):
    """Run git am, and return to @head if it fails or is interrupted."""
    try:
        status, stdout, stderr = strict(git).attempt("am", "--quiet", *AM, "--no-3way", *files)
    except BaseException:
        restore(git, head)
        raise
    if status:
        restore(git, head)
        raise Failure(f"git am failed; {git.directory} is as it was before. git said:\n"
                      + "\n".join("    " + line for line in (stderr + stdout).strip().splitlines()[-20:]))


def restore(git, head):
    if gitcmd.in_progress(git):
        git.attempt("am", "--abort")
    if git.commit("HEAD") != head or tree.dirty(git) or gitcmd.in_progress(git):
        raise Failure(f"git am was stopped and could not be undone; in {git.directory}, `git am --abort` and "
                      f"`git reset --keep {head}`")
