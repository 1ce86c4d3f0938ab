# SPDX-License-Identifier: GPL-2.0
"""The patched kernel as a git tree: build/KERNEL/tree, whose branch `queue` has one commit for each patch.

The commits are made in a temporary index, and the work tree is moved to the result at the end. So a
patch that fails leaves the tree as it was, and only files that really differ are written: objects
built from the others stay valid. The commits are those that `git am` makes, with the same ids.
"""

import email.utils
import hashlib
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from base import config, gitcmd, origin
from base.steps import Failure, encode, note, say, step
from weave import blobs, mails, needs

MADE = "refs/queue/made"        # the commit that the repository reproduces


class Conflict(Failure):
    """A patch that does not apply."""


@dataclass
class Stack:
    """Patches committed on top of each other: the last commit, the patches that were left out, and offsets."""

    tip: str
    applied: list = field(default_factory=list)     # Woven
    offsets: list = field(default_factory=list)     # messages
    left: dict = field(default_factory=dict)        # path of a patch that was left out -> why
    there: list = field(default_factory=list)       # paths of those that the source has already
    base: dict = field(default_factory=dict)        # {path: (mode, id)} of the touched files before
    files: list = field(default_factory=list)       # the same for the files of each applied patch after it

    @property
    def whole(self):
        return not self.left and not self.there

    def refused(self):
        """All that did not apply, in one message."""
        number = len(self.left) + len(self.there)
        return "\n".join([f"{number} of {number + len(self.applied)} patches do not apply:",
                          *(named(path, why) for path, why in self.left.items()),
                          *(f"{path}: the tree has this already" for path in self.there)])


def named(path, why):
    """@why a patch does not apply, with its @path in front."""
    return why if why.startswith(f"{path}: ") else f"{path}: {why}"


def make(queue, kernel, force=False):
    """Make or update build/KERNEL/tree from build/KERNEL/pristine.

    Refuses to touch a tree with edits that were not refreshed, unless @force. On the tested source a patch that
    does not apply is an error. On another source it is left out together with the patches that need it. Patches
    that need one which the source already has are not left out. Returns the Stack.
    """
    done = update(queue, kernel, kernel.tree, "queue", mails.woven(queue, kernel), force=force,
                  partly=not origin.is_tested(queue, kernel))
    if problem := unlike_pin(queue, kernel):
        note(problem)
    return done


def unlike_pin(queue, kernel):
    """How build/KERNEL/tree differs from the woven tree that kernels.toml names, or ""; always "" for an untested source."""
    if queue.features or not origin.is_tested(queue, kernel):
        return ""
    found = gitcmd.own(kernel.tree, queue).line("rev-parse", f"{MADE}^{{tree}}")
    return "" if found == kernel.woven else (
        f"{kernel.name}: the woven tree is {found[:12]}, kernels.toml has {kernel.woven[:12] or 'none'}. If the queue was changed on "
        f"purpose, `make pin` writes the new one; else a hunk is at another place than where it was tested")


def pin(queue, kernel):
    """Record the ids of the woven tree and its files, if the source is the tested one; returns whether they changed."""
    if not origin.is_tested(queue, kernel):
        raise Failure(f"{kernel.pristine} is not {kernel.package} {kernel.version}, the source that was tested; "
                      f"`make source KERNEL={kernel.name} SOURCE=tested`")
    git = pristine(queue, kernel)
    done = stack(git, git.commit("refs/tags/base"), kernel, mails.woven(queue, kernel), queue)
    if not done.whole:
        raise Conflict(done.refused())
    return record_ids(queue, kernel, git, done)


def record_ids(queue, kernel, git, done):
    """Write the ids of @done, a Stack on the tested source, beside and into kernels.toml; returns whether they changed."""
    return any([blobs.write(queue, kernel, done), config.pin(queue, kernel, git.line("rev-parse", f"{done.tip}^{{tree}}"))])


def tell(queue, kernel, done):
    """Say what make() has left out."""
    version = origin.recorded(queue, kernel)[1]
    for path in done.there:
        note(f"{path}: {kernel.name} {version} has this already")
    if done.left:
        say(f"\n{kernel.name}: left out, because they were made for {kernel.version} and do not apply to {version}:")
        for path, why in done.left.items():
            say("    " + named(path, why).splitlines()[0])


def make_control(queue, kernel, force=False):
    """Make or update build/KERNEL/control: the unpatched kernel and the test-only patches."""
    update(queue, kernel, kernel.control, "control", mails.woven(queue, kernel, control=True), force=force,
           partly=not origin.is_tested(queue, kernel))


def pristine(queue, kernel):
    git = gitcmd.own(kernel.pristine, queue)
    if not kernel.pristine.is_dir() or not git.commit("refs/tags/base"):
        raise Failure(f"{kernel.pristine} is no git tree with a tag `base`; "
                      f"run `make source KERNEL={kernel.name}`")
    return git


def update(queue, kernel, path, branch, patches, *, force, partly, fallback=None):
    """Make the tree at @path of @patches; with @partly some may be left out. @fallback: see stack(). Returns the Stack."""
    unpatched = pristine(queue, kernel)
    with step(f"{path}: {kernel.package} and {len(patches)} patches"):
        git = gitcmd.own(path, queue)
        if not path.exists():
            clone(queue, unpatched, path)
        elif git.attempt("rev-parse", "--show-prefix")[:2] != (0, "\n"):
            raise Failure(f"{path} is not a git tree; remove it")
        elif not force:
            refuse_to_lose_work(git, kernel, path, branch)
        base = unpatched.commit("refs/tags/base")
        if git.commit("refs/tags/base") != base:
            git("fetch", "--quiet", "--no-tags", kernel.pristine, "+refs/tags/base:refs/tags/base")
        done = stack(git, base, kernel, patches, queue, fallback=fallback)
        if not done.whole and not partly:
            raise Conflict(done.refused())
        at = git.attempt("symbolic-ref", "-q", "HEAD")[1].strip()
        if git.commit("HEAD") != done.tip or at != f"refs/heads/{branch}" or (force and dirty(git)):
            move(git, branch, done.tip, force)
        record(git, queue, done)
    return done


@dataclass
class Made:
    """What a tree was made of: fingerprints by path of the patch, what was left out and why, and the topics, if not all."""

    applied: dict = field(default_factory=dict)
    left: dict = field(default_factory=dict)
    features: tuple = ()

    @property
    def partly(self):
        return bool(self.left or self.features)


def record(git, queue, done):
    """Record that @done, a Stack, is the result of weaving the queue, and the state of each patch."""
    state = {"applied": {woven.patch.path: fingerprint(woven.patch, woven.edits) for woven in done.applied},
             "left": {**done.left, **dict.fromkeys(done.there, "the source has this already")}, "features": queue.features}
    Path(git.git_path("queue.json")).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    git("update-ref", MADE, done.tip)


def recorded(git):
    """What record() has recorded, as Made."""
    file = Path(git.git_path("queue.json"))
    state = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Made(state.get("applied", {}), state.get("left", {}), tuple(state.get("features", ())))


def fingerprint(patch, edits):
    """A hash of @patch as it is for a kernel where it makes these @edits; the line numbers of hunks do not matter."""
    text = "\n".join([patch.message, *(line for path, edit in edits.items()
                                      for line in [path, *(line for hunk in edit.hunks for line in hunk.lines)])])
    return hashlib.sha256(encode(text)).hexdigest()


def clone(queue, source, path):
    """A clone of the pristine tree, whose objects are hard links: it outlives the pristine tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        # Moved into place when complete, so that an interrupted clone is not mistaken for a tree.
        new = Path(scratch) / "clone"
        git = gitcmd.own(scratch, queue)
        # A user's git would pack the tens of thousands of objects of a kernel at the first commit.
        git("clone", "--quiet", "--no-checkout", "--config", "gc.auto=0", source.directory, new)
        new.rename(path)


def refuse_to_lose_work(git, kernel, path, branch):
    advice = f"`make refresh KERNEL={kernel.name}` takes it back into the queue; FORCE=1 throws it away"
    if branch != "queue":
        advice = "FORCE=1 throws it away"
    busy = gitcmd.in_progress(git)
    if busy:
        raise Failure(f"{path}: in the middle of a {busy}; finish or abort it, then {advice}")
    head, made = git.commit("HEAD"), git.commit(MADE)
    if not made:
        return          # cloned, but nothing is checked out yet
    if dirty(git):
        raise Failure(f"{path} has uncommitted changes:\n{dirty(git)}\n{advice}")
    if head != made:
        raise Failure(f"{path} has commits that are not from the queue (HEAD is {head[:12]}, made was "
                      f"{made[:12]}); {advice}")


def dirty(git):
    """The uncommitted changes of files that git knows, as git status lists them."""
    return git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none").rstrip("\n")


def move(git, branch, tip, force):
    if force:
        # --quit forgets an operation in progress and touches neither HEAD nor the files.
        for what in ("am", "rebase", "cherry-pick", "revert"):
            git.attempt(what, "--quit")
        old = git.commit("HEAD")
        git("checkout", "--quiet", "--force", "-B", branch, tip)
        if old and git.commit(MADE) not in ("", old):
            note(f"{git.directory}: HEAD was {old}")
    elif not git.commit(MADE):
        git("checkout", "--quiet", "--force", "-B", branch, tip)
    else:
        git("checkout", "--quiet", "-B", branch, tip)


def stack(git, base, kernel, patches, queue, rehearsal=False, fallback=None):
    """Commit @patches on top of @base, without touching the work tree or index; returns a Stack.

    A patch that does not apply is left out, together with those that need it; the reason names the file and hunk and says what
    to do. A @rehearsal makes no commits. @fallback(git, index, woven) may apply such a patch to the index in another way, and
    returns whether it did; if that changes no file, the source has the patch already.
    """
    done = Stack(base)
    needed, commits = None, []
    with tempfile.TemporaryDirectory(prefix="queue-") as scratch:
        # Only of the touched files: the index of a whole kernel, 8 MB, would be read and written for each patch.
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        paths = sorted({path for woven in patches for path in woven.edits})
        there = git("ls-tree", "-r", "-z", "--full-tree", base, "--", *paths) if paths else ""
        git("update-index", "-z", "--index-info", input=there, env=index)
        done.base = listed(there)
        at = dict(done.base)
        for number, woven in enumerate(patches, 1):
            if done.left:
                needed = needed or needs.of(patches)
                missing = sorted(needed[woven.patch.path] & set(done.left))
                if missing:
                    done.left[woven.patch.path] = f"needs {' and '.join(missing)}"
                    continue
            try:
                done.offsets += apply(git, index, kernel, woven)
            except Conflict as conflict:
                if has(git, index, woven):
                    done.there.append(woven.patch.path)
                    continue
                if not fallback or not fallback(git, index, woven):
                    done.left[woven.patch.path] = str(conflict)
                    continue
            files = listed(git("ls-files", "--stage", "-z", "--", *woven.edits, env=index))
            if all(at.get(path) == file for path, file in files.items()):
                done.there.append(woven.patch.path)
                continue
            at.update(files)
            done.applied.append(woven)
            done.files.append(files)
            commits.append((mails.date(queue, number), woven.patch.message, done.files[-1]))
        if commits and not rehearsal:
            done.tip = commit_all(git, queue, base, commits, scratch)
    return done


def listed(text):
    """{path: (mode, id)} of what git ls-tree or git ls-files --stage prints, with -z."""
    found = {}
    for line in text.split("\0")[:-1]:
        info, path = line.split("\t")
        words = info.split(" ")
        found[path] = words[0], words[2] if words[1] in ("blob", "commit") else words[1]
    return found


def commit_all(git, queue, base, commits, scratch):
    """Make the @commits, each (date, message, {path: (mode, id)}), on @base; returns the last one's id."""
    ref, stream = f"refs/queue/stack-{Path(scratch).name}", []
    for number, (date, message, files) in enumerate(commits, 1):
        when = f"{queue.identity} {int(email.utils.parsedate_to_datetime(date).timestamp())} +0000\n"
        stream.append(f"commit {ref}\nmark :{number}\nauthor {when}committer {when}data {len(encode(message))}\n{message}\n"
                      + (f"from {base}\n" if number == 1 else ""))
        stream += [f"M {mode} {blob} {path}\n" for path, (mode, blob) in files.items()]
    git("fast-import", "--quiet", "--force", input="".join([*stream, "done\n"]))
    tip = git.commit(ref)
    git("update-ref", "-d", ref)
    return tip


def has(git, index, woven):
    """Whether the index already has what @woven does."""
    return git.attempt("apply", "--cached", "--reverse", "--check", "-", input=woven.data, env=index)[0] == 0


def apply(git, index, kernel, woven):
    """Apply one mail to an index; returns messages about hunks that were not at their line."""
    patch = woven.patch
    status, _, stderr = git.attempt("apply", "--cached", "--verbose", "--whitespace=nowarn", "-",
                                    input=woven.data, env=index)
    if status:
        raise Conflict(explain(kernel, woven, stderr))
    offsets, path = [], ""
    for line in stderr.splitlines():
        if match := re.match(r"Checking patch (.*)\.\.\.$", line):
            path = match[1].split(" => ")[-1]
        elif match := re.match(r"Hunk #(\d+) succeeded at \d+ \((offset .*)\)", line):
            offsets.append(f"{patch.where(kernel.name, path)}: hunk {match[1]} of {path} applies at an "
                           f"{match[2]}")
        elif line.startswith("Context reduced"):
            offsets.append(f"{patch.where(kernel.name, path)}: {path}: {line}")
    return offsets


def explain(kernel, woven, stderr):
    """The message of git apply, in terms of the queue's files."""
    patch = woven.patch
    for line in stderr.splitlines():
        if match := re.match(r"error: patch failed: (.*):(\d+)$", line):
            path, start = match[1], int(match[2])
            number = [hunk.old_start for hunk in woven.edits[path].hunks].index(start) + 1 if path in woven.edits else 1
            return (f"{patch.where(kernel.name, path)}: hunk {number} of {path} (line {start}) does not apply to "
                    f"{kernel.name} with the patches before it.\n"
                    f"Compare it with the file there; correct the hunk, or the order in series, or, if "
                    f"other kernels need it as it is, put it into {patch.variant_path(kernel.name)}.\n"
                    + quote(stderr))
        if match := re.match(r"error: (.*): does not exist in index$", line):
            path = match[1]
            return (f"{patch.where(kernel.name, path)}: there is no {path} in {kernel.name} with the patches "
                    f"before it. Correct the path or the order in series, or write `Without: {path}` "
                    f"into {patch.variant_path(kernel.name)}.")
        if match := re.match(r"error: (.*): already exists in index$", line):
            return (f"{patch.path}: its new file {match[1]} is in {kernel.name} already. If upstream has it there, "
                    f"leave {kernel.name} out of the patch's line in series.")
    return f"{patch.path}: git apply refuses it for {kernel.name}:\n" + quote(stderr)


def quote(stderr):
    kept = [line for line in stderr.splitlines() if not line.startswith("Checking patch")]
    return "\n".join("    " + line for line in kept[:20])
