# SPDX-License-Identifier: GPL-2.0
"""The queue into a user's own kernel tree, by `git am`: everything that can be known is checked
before, so that a refusal changes nothing.
"""

import os
import re
import tempfile
from pathlib import Path

from base import config, gitcmd
from base.gitcmd import Git
from base.steps import Failure, say, step
from weave import mails, tree

RECENT = 2000       # commits of the tree's history in which our subjects are looked for


def am(queue, kdir):
    """Apply the queue to the git work tree @kdir."""
    if not kdir:
        raise Failure("say which tree: `make am KDIR=~/linux`")
    kdir = Path(kdir).expanduser().absolute()
    kernel = find_kernel(queue, kdir)
    git = gitcmd.users(kdir)
    head = check_work_tree(git, kdir)
    patches = mails.woven(queue, kernel)
    if not patches:
        raise Failure(f"the series has no patch for {kernel.name}")
    check_absent(git, kdir, patches)
    rehearse(queue, kernel, git, head, patches)
    files = mails.write(queue, kernel)
    with step(f"git am of {len(files)} patches to {kdir}"):
        git_am(git, head, files)
    toggles = sorted({toggle for found in toggles_of(patches).values() for toggle in found})
    what = f"the topics {' '.join(queue.features)}" if queue.features else "the queue"
    say(f"{kdir} has {what} for {kernel.name} now. `git reset --keep {head[:12]}` takes it out again.\n"
        f"Next: `make olddefconfig` there and build.")
    if toggles:
        say("The queue's options: " + " ".join(f"CONFIG_{name}" for name in toggles))


def find_kernel(queue, kdir):
    name, _ = config.release(kdir / "Makefile")
    if not name or not (kdir / "Kbuild").exists():
        raise Failure(f"{kdir} is not the top of a kernel tree (no Makefile with VERSION and PATCHLEVEL); "
                      f"set KDIR to one")
    for kernel in queue.kernels:
        if kernel.name == name:
            return kernel
    raise Failure(f"{kdir} is Linux {name}; this queue supports "
                  f"{', '.join(kernel.name for kernel in queue.kernels)}")


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
    # Without useConfigOnly git would make up an address from the host's name.
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


def rehearse(queue, kernel, git, head, patches):
    """Apply the patches in a scratch index, with scratch objects: the tree sees nothing of it."""
    with tempfile.TemporaryDirectory(prefix="queue-") as scratch:
        own = gitcmd.own(git.directory, queue)
        dry = Git(git.directory, {**own.env, "GIT_OBJECT_DIRECTORY": scratch,
                                  "GIT_ALTERNATE_OBJECT_DIRECTORIES": git.git_path("objects")}, own.options)
        done = tree.stack(dry, head, kernel, patches, queue, rehearsal=True)
    if not done.whole:
        raise Failure(f"the queue does not apply to {git.directory}, which was not changed: that is Linux "
                      f"{config.release(git.directory / 'Makefile')[1]}, the queue was made for {kernel.version}.\n"
                      f"{done.refused()}")


def git_am(git, head, files):
    """git am, and back to @head if it fails or is interrupted."""
    quiet = Git(git.directory, git.env, ("-c", "am.threeWay=false", "-c", "am.keepcr=false",
                                         "-c", "apply.ignoreWhitespace=no"))
    try:
        status, stdout, stderr = quiet.attempt("am", "--quiet", "--no-scissors", "--no-3way",
                                               "--whitespace=nowarn", *files)
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
