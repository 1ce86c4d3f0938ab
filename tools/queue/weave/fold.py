# SPDX-License-Identifier: GPL-2.0
"""Folds edits into the commits that they belong to: uncommitted edits and fixup! commits."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from base import gitcmd
from base.steps import Failure, decode
from weave import gitdiff, tree, udiff
from weave.udiff import FileDiff

SQUASHED = re.compile(r"((fixup|amend)! )+")


def commits_of(git, base):
    return git("rev-list", "--reverse", f"{base}..HEAD").split()


def subjects(git, base):
    # %B, not %s: %s would join a subject that spans lines, which has to be refused.
    return [message.split("\n")[0] for message in log(git, base, "HEAD", "%B")]


def log(git, base, tip, form):
    """The commits after @base up to @tip, oldest first, each as git log --format=@form."""
    text = git("log", "-z", "--reverse", f"--format={form}", f"{base}..{tip}")
    return text.removesuffix("\0").split("\0") if text else []


def fold(git, base):
    """Fold uncommitted edits and fixup! commits into the commits they belong to.

    Returns a function that restores HEAD and the index. Files never change, because folding does not
    change what the last commit contains.
    """
    head = git.commit("HEAD")
    index = Path(git.git_path("index"))
    staged = index.read_bytes()
    for subject in subjects(git, base):
        if subject.startswith("squash! "):
            raise Failure(f"a commit {subject!r}: squash! wants an editor; squash it yourself by git rebase -i, "
                          f"or make it a fixup!")

    def undo():
        if gitcmd.in_progress(git):
            git("rebase", "--abort")
        if git.commit("HEAD") != head:
            git("update-ref", "-m", "refresh: undo", "HEAD", head)
        if index.read_bytes() != staged:
            index.write_bytes(staged)
            git.attempt("update-index", "-q", "--refresh")

    try:
        commit_fixups(git, find_targets(git, base))
        if any(map(SQUASHED.match, subjects(git, base))):
            squash(git, base)
    except BaseException:
        undo()
        raise
    return undo


@dataclass
class Edit:
    """Uncommitted hunks of one file, without context, that belong to one commit."""

    path: str
    hunks: list


def find_targets(git, base):
    """The commits that the uncommitted edits belong to, in order: commit -> Edits.

    A hunk belongs to the last commit that wrote one of the lines that it replaces, or between which it is
    inserted. If the lines are the kernel's, it belongs to the last commit that touches the file.
    """
    untracked = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")[:-1]
    if untracked:
        raise Failure(f"{git.directory}: new files that no commit has: {' '.join(untracked[:10])}\n"
                      f"Remove them, or `git add` them and `git commit --fixup=COMMIT` for the one to carry them.")
    order = commits_of(git, base)
    targets, homeless = {}, []
    for path in git("diff", "--name-only", "--no-renames", "-z", "HEAD").split("\0")[:-1]:
        last = git.line("log", "-1", "--format=%H", f"{base}..HEAD", "--", path)
        if not last:
            homeless.append(path)
            continue
        file = Path(git.directory) / path
        if file.is_symlink() or not file.is_file():
            raise Failure(f"{file} was removed or is no file any more; commit that (`git commit --fixup=COMMIT`) "
                          f"to say which patch it belongs to")
        # If only the mode of a file changed there is no hunk: this also belongs to the last commit.
        targets.setdefault(last, {})
        before, after = git("cat-file", "blob", f"HEAD:{path}"), decode(file.read_bytes())
        diff = gitdiff.text_diff(git, path, before, after, context=0)
        writers = blame(git, base, path) if diff else []
        for hunk in diff.hunks if diff else []:
            first, count = (hunk.old_start, hunk.old_count) if hunk.old_count else (hunk.old_start, 2)
            written = [writer for writer in writers[max(first - 1, 0):first - 1 + count] if writer in order]
            commit = max(written, key=order.index, default=last)
            targets.setdefault(commit, {}).setdefault(path, []).append(hunk)
        if not diff:
            targets[last][path] = []
    if homeless:
        raise Failure(f"{git.directory}: edits to files that no patch touches: {' '.join(homeless[:10])}\n"
                      f"Say which patch they belong to: `git add` them and `git commit --fixup=COMMIT`.")
    return {commit: [Edit(*item) for item in targets[commit].items()] for commit in order if targets.get(commit)}


def blame(git, base, path):
    """The commit that wrote each line of @path in HEAD; "" for lines of the kernel."""
    lines = git("blame", "-l", "-s", f"{base}..HEAD", "--", path).split("\n")[:-1]
    return ["" if line.startswith("^") else line.split(" ")[0] for line in lines]


def commit_fixups(git, targets):
    """Commit the edits as fixups, one for each target; the files have them already."""
    if not targets:
        return
    head = tip = git.commit("HEAD")
    done = {}
    with tempfile.TemporaryDirectory(prefix="queue-") as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        git("read-tree", head, env=index)
        for commit, edits in targets.items():
            for edit in edits:
                # Hunks have the line numbers of HEAD, so each fixup is HEAD with all hunks up to its own.
                hunks = done.setdefault(edit.path, [])
                hunks += edit.hunks
                hunks.sort(key=lambda hunk: hunk.old_start)
                text = udiff.apply(FileDiff(edit.path, hunks), git("cat-file", "blob", f"{head}:{edit.path}"))
                blob = git("hash-object", "-w", "--stdin", input=text).strip()
                executable = (Path(git.directory) / edit.path).stat().st_mode & 0o100
                git("update-index", "--cacheinfo", f"{'100755' if executable else '100644'},{blob},{edit.path}",
                    env=index)
            subject = git.line("log", "-1", "--format=%s", commit)
            tip = git("commit-tree", git("write-tree", env=index).strip(), "-p", tip,
                      input=f"fixup! {subject}\n").strip()
    git("reset", "--quiet", "--mixed", tip)
    if tree.dirty(git):
        raise Failure(f"the edits in {git.directory} could not be split up; commit them yourself")


def squash(git, base):
    before, final = git.commit("HEAD"), git.line("rev-parse", "HEAD^{tree}")
    status, stdout, stderr = git.attempt("rebase", "--interactive", "--autosquash", "--no-verify",
                                         "--keep-empty", "--empty=keep", base)
    if status:
        files = git("diff", "--name-only", "--diff-filter=U").split()
        at = git.commit("REBASE_HEAD")
        subject = git.line("log", "-1", "--format=%s", at) if at else ""
        raise Failure("\n".join([
            "folding the edits into the commits they belong to does not work: "
            + (f"{subject!r} conflicts in {' '.join(files)}" if files and subject
               else (stderr or stdout).strip()),
            f"Nothing was changed. Commit the edit (`git commit --fixup=COMMIT`) in {git.directory}, run "
            f"`git rebase -i --autosquash base` there, resolve it, and refresh again."]))
    if git.line("rev-parse", "HEAD^{tree}") != final:
        git("reset", "--quiet", "--hard", before)
        raise Failure(f"folding the fixup! commits gives other files than there are now, so nothing was changed; "
                      f"run `git rebase -i --autosquash base` in {git.directory} and refresh again")
