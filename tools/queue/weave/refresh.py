# SPDX-License-Identifier: GPL-2.0
"""From the git tree back to the queue: what was edited and rebased in build/KERNEL/tree is written
to the patches and new files here, so that weaving gives that tree again.

A diff that still turns the file before the commit into the file after it is left as it is written;
so a refresh without an edit changes no byte. The tree and the repository are changed completely or,
on any error, not at all.
"""

import difflib
import re
from dataclasses import dataclass, replace

from base import gitcmd, origin
from base.steps import Failure, decode, encode, note, say, step
from weave import fold, gitdiff, mails, patchfile, series, tree, udiff
from weave.patchfile import Patch, Variant
from weave.udiff import FileDiff, Hunk


@dataclass
class Change:
    """What a commit does to one file."""

    path: str
    status: str         # A, M, D or T
    mode: str           # after
    before: str
    after: str


def refresh(queue, kernel):
    """Write build/KERNEL/tree back; returns the paths, in the repository, that changed."""
    git = gitcmd.own(kernel.tree, queue)
    base = check_tree(git, kernel)
    subjects = fold.subjects(git, base)
    # One that was left out is in the tree if the user has added it by hand.
    left = {path: why for path, why in tree.recorded(git)[1].items()
            if not any(entry.patch.path == path and entry.patch.subject in subjects for entry in series.load(queue))}
    entries = [entry for entry in series.select(series.load(queue), kernel) if entry.patch.path not in left]
    check_untouched(queue, kernel, git, entries)
    match(kernel, entries, [subject for subject in fold.subjects(git, base) if not fold.SQUASHED.match(subject)])
    with step(f"taking back {kernel.tree}"):
        undo = fold.fold(git, base)
        try:
            commits = match(kernel, entries, fold.subjects(git, base), fold.commits_of(git, base))
            plan = Plan(queue, kernel)
            for entry, commit in zip(entries, commits):
                take(plan, git, entry, commit)
            with plan.written():
                done = verify(queue, kernel, git, base, left)
        except BaseException:
            undo()
            raise
        tree.record(git, kernel, queue, replace(done, tip=git.commit("HEAD"), left=left))
    for text in plan.notes:
        note(text)
    for path in plan.changed:
        say(f"    {path}")
    if not plan.changed:
        say("    nothing to change: the queue gives this tree already")
    package, version = origin.recorded(queue, kernel, kernel.tree)
    if plan.changed and package == kernel.package and version != kernel.version:
        note(f"the line numbers are those of {version} now: update the version in kernels.toml")
    for path, why in left.items():
        note(f"not in the tree, and so as it was: {tree.named(path, why).splitlines()[0]}")
    check_others(queue, kernel)
    return plan.changed


def check_tree(git, kernel):
    """Refuse a tree that cannot be read as a series of commits; returns the base commit."""
    path = kernel.tree
    if not path.is_dir() or git.attempt("rev-parse", "--show-prefix")[:2] != (0, "\n"):
        raise Failure(f"there is no git tree {path}; run `make tree KERNEL={kernel.name}`")
    busy = gitcmd.in_progress(git)
    if busy:
        raise Failure(f"{path}: in the middle of a {busy}; finish or abort it first")
    if git.attempt("symbolic-ref", "-q", "HEAD")[1].strip() != "refs/heads/queue":
        raise Failure(f"{path} is not on the branch queue; `git switch queue` there, or "
                      f"`git switch -C queue` if what is checked out is the queue now")
    base = git.commit("refs/tags/base")
    if not base or git.attempt("merge-base", "--is-ancestor", base, "HEAD")[0]:
        raise Failure(f"{path}: the tag base is not an ancestor of the branch queue; rebase onto it")
    if git("rev-list", "--merges", f"{base}..HEAD"):
        raise Failure(f"{path}: a merge commit; rebase to a straight line of commits")
    return base


def check_untouched(queue, kernel, git, entries):
    """Refuse if patches were edited here since the tree was made: refresh would undo that."""
    state = tree.recorded(git)[0]
    edited = [entry.patch.path for entry in entries if entry.patch.path in state
              and state[entry.patch.path] != tree.fingerprint(queue, kernel, entry.patch)]
    if edited:
        raise Failure(f"edited in the repository since the tree was made, and not in the tree: "
                      f"{', '.join(edited)}\nIf the tree has nothing to keep, `make tree "
                      f"KERNEL={kernel.name}` (FORCE=1) brings the edit there. Else put the edit aside "
                      f"(git stash), refresh, and make it again.")


def match(kernel, entries, found, commits=()):
    """Refuse unless the commits' subjects are the entries', in order; returns @commits."""
    wanted = [entry.patch.subject for entry in entries]
    unknown = [subject for subject in found if subject not in wanted]
    missing = [entry.patch for entry in entries if entry.patch.subject not in found]
    if unknown:
        subject = unknown[0]
        reworded = (f"\nIf it is {missing[0].path} reworded, write the new subject into that file first."
                    if missing else "")
        raise Failure(f"the commit {subject!r} has no patch here. Create a mail file beside what it edits, say "
                      f"drivers/.../NAME.patch, with\n"
                      f"    Subject: {subject}\n    \n    Upstream: no, WHY\n    ---\n"
                      f"and a line `drivers/.../NAME.patch {kernel.name} no` at its place in series; "
                      f"refresh then fills in the message and the diffs.{reworded}")
    if missing:
        raise Failure(f"the tree has no commit {missing[0].subject!r}. If {missing[0].path} is to go, remove "
                      f"the file and its line in series; else bring the commit back (git reflog).")
    if found != wanted:
        where = next(number for number, subject in enumerate(found)
                     if wanted[number:number + 1] != [subject])
        raise Failure(f"commit {where + 1} of the tree is {found[where]!r}, which is not there in series, or is "
                      f"there twice in the tree; make the order of the lines in series that of the commits")
    return commits


class Plan:
    """What to write to the repository, kept in memory until all of it is known."""

    def __init__(self, queue, kernel):
        self.queue = queue
        self.kernel = kernel
        self.files = {}         # path: (bytes, executable), or None to remove
        self.changed = []
        self.notes = []

    def put(self, path, data, executable=False):
        self.files[path] = (encode(data), executable)

    def remove(self, path):
        # A file that another patch carries now is not to go.
        self.files.setdefault(path, None)

    def written(self):
        return Written(self)


class Written:
    """with-block in which the plan is on the disk; an error in it takes everything back."""

    def __init__(self, plan):
        self.plan = plan
        self.saved = {}

    def __enter__(self):
        root = self.plan.queue.root
        for path, content in sorted(self.plan.files.items()):
            file = root / path
            old = (file.read_bytes(), bool(file.stat().st_mode & 0o100)) if file.is_file() else None
            if old != content:
                self.saved[path] = old
                store(file, content)
        self.plan.changed = list(self.saved)

    def __exit__(self, kind, *_):
        if kind:
            for path, content in self.saved.items():
                store(self.plan.queue.root / path, content)
        return False


def store(file, content):
    if content is None:
        file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content[0])
    mode = file.stat().st_mode
    file.chmod(mode | 0o111 if content[1] else mode & ~0o111)


def take(plan, git, entry, commit):
    """Plan the files of one patch, so that they say what @commit does."""
    old, name = entry.patch, plan.kernel.name
    message = git("log", "-1", "--format=%B", commit).rstrip("\n")
    subject, _, body = message.partition("\n\n")
    if "\n" in subject or not body:
        raise Failure(f"the commit {subject!r} needs a one-line subject, an empty line and a message; "
                      f"reword it by git rebase -i")
    changes = read_changes(git, commit, old)
    created = [path for path in changes if changes[path].status == "A"]
    new = Patch(old.path, subject, body.strip("\n"), inserts=list(old.inserts), needs=list(old.needs),
                variants={key: Variant(dict(variant.diffs), list(variant.without), dict(variant.at))
                          for key, variant in old.variants.items()})
    new.new = [path for path in old.new if path in created or name != entry.newest]
    new.new += sorted(set(created) - set(new.new))

    edits, entry_texts = {}, {}
    for path, change in changes.items():
        if change.status == "M" and path in old.inserts:
            edits[path], entry_texts[path] = take_insertion(plan, old, change)
        elif change.status == "M":
            edits[path] = take_edit(git, commit, old.diff(name, path), change)
    if name == entry.newest:
        new.diffs = edits
        for variant in new.variants.values():
            variant.without = [path for path in variant.without if path in {**edits, **dict.fromkeys(new.new)}]
            moved = {path: follow(old.diffs[path], edits[path], starts)
                     for path, starts in variant.at.items() if path in edits}
            variant.at = {path: starts for path, starts in moved.items() if starts != edits[path].starts}
    else:
        new.diffs = dict(old.diffs)
        shared = [*old.diffs, *old.new]
        variant = Variant(without=[path for path in shared if path not in changes])
        for path, edit in edits.items():
            text = None
            if path in old.inserts:
                text = entry_texts[path] or mails.shared_file(plan.queue, old, path)[0]
            starts = starts_of(old.diffs.get(path), edit, changes[path], text)
            if starts is None:
                variant.diffs[path] = edit
            elif starts != old.diffs[path].starts:
                variant.at[path] = starts
        new.variants[name] = variant
    for path in created:
        take_new_file(plan, git, old, new, changes[path])
    for path, text in entry_texts.items():
        if text is not None:
            plan.put(path, text)
    for path in set(old.new) - set(new.new):
        plan.remove(path)
        for variant in new.variants.values():
            variant.diffs.pop(path, None)
    plan_patch(plan, old, new)


def read_changes(git, commit, patch):
    """What @commit changes, by path; refuses what a patch here cannot hold."""
    raw = git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-commit-id", f"{commit}^", commit)
    changes = {}
    fields = raw.split("\0")
    for info, path in zip(fields[0:-1:2], fields[1::2]):
        old_mode, mode, before, after, status = info.lstrip(":").split(" ")
        if status == "D" or status == "T" or (status == "M" and old_mode != mode) \
                or mode not in ("100644", "100755"):
            raise Failure(f"the commit of {patch.path} deletes {path} or changes its mode, which a patch here "
                          f"cannot say; only edits and new files are kept")
        if not re.fullmatch(udiff.PATH, path):
            raise Failure(f"{path}: a file name that patches here cannot hold")
        texts = [git("cat-file", "blob", blob) if blob.strip("0") else "" for blob in (before, after)]
        changes[path] = Change(path, status, mode, *texts)
    if not changes:
        raise Failure(f"the commit of {patch.path} changes nothing; drop it, the file and its line in series")
    return changes


def fits(edit, change):
    """Whether @edit, as it is written, still makes this change."""
    try:
        return bool(edit) and udiff.apply(edit, change.before) == change.after
    except udiff.Mismatch:
        return False


def take_edit(git, commit, old, change):
    """The diff of a file that the kernel has."""
    if fits(old, change):
        return old
    return gitdiff.commit_diff(git, commit, change.path)


def starts_of(shared, edit, change, text):
    """The line numbers with which the diff @shared makes this @change as @edit does; None if it cannot.

    @text is what an insertion inserts, None for other edits.
    """
    if not shared:
        return None
    if [hunk.lines for hunk in shared.hunks] == [hunk.lines for hunk in edit.hunks]:
        return edit.starts
    # git may have chosen other context, or split the hunks in another way.
    starts = udiff.locate(shared, change.before)
    if starts:
        moved = udiff.move(shared, starts)
        if fits(moved if text is None else mails.insert(moved, text, change.path), change):
            return starts
    return None


def follow(old, new, starts):
    """The @starts that a variant gives the hunks of @old, for those of @new, which takes its place.

    A hunk with the same lines stays where it is; another keeps its distance from the nearest of
    those. If that is wrong, LOOSE=1 finds its place.
    """
    blocks = difflib.SequenceMatcher(None, [tuple(hunk.lines) for hunk in old.hunks],
                                     [tuple(hunk.lines) for hunk in new.hunks], autojunk=False).get_matching_blocks()
    known = {block.b + n: starts[block.a + n] for block in blocks for n in range(block.size)}
    moves = [(new.starts[n], start - new.starts[n]) for n, start in known.items()] or \
            [(place, start - place) for place, start in zip(old.starts, starts)]
    return [known[n] if n in known else max(1, place + min(moves, key=lambda move: abs(move[0] - place))[1])
            for n, place in enumerate(new.starts)]


def take_new_file(plan, git, old, new, change):
    """A file that the patch carries: edits go to the file itself, for all kernels, if they can."""
    queue, path, name = plan.queue, change.path, plan.kernel.name
    executable = change.mode == "100755"
    file = queue.root / path
    if path not in old.new or not file.is_file():
        if path not in old.new:
            plan.notes.append(f"{path} is carried by {new.path} now")
        plan.put(path, change.after, executable)
        return
    shared = decode(file.read_bytes())
    edit = old.variant(name).diffs.get(path)
    variant = new.variants.get(name)
    here = udiff.apply(edit, shared) if edit else shared
    if here == change.after:
        text = shared
        if edit:
            variant.diffs[path] = edit
    elif not edit:
        text = change.after
    else:
        # The edit made in this tree, without what the variant does.
        text = gitdiff.merge(git, here, change.after, shared)
        text = shared if text is None else text
        edit = gitdiff.text_diff(git, path, text, change.after)
        if edit:
            variant.diffs[path] = edit
    plan.put(path, text, executable)
    if text == shared:
        return
    for other, variant in new.variants.items():
        edit = old.variant(other).diffs.get(path)
        if other == name or not edit:
            continue
        merged = gitdiff.merge(git, shared, text, udiff.apply(edit, shared))
        if merged is None:
            plan.notes.append(f"{new.variant_path(other)}: its hunks no longer fit {path}; correct them by hand")
            continue
        del variant.diffs[path]
        if merged != text:
            variant.diffs[path] = gitdiff.text_diff(git, path, text, merged)


def take_insertion(plan, old, change):
    """(hunk that says where, text to write or None) of a text inserted into a kernel's file."""
    path, queue = change.path, plan.queue
    place = old.diff(plan.kernel.name, path)
    if place and (queue.root / path).is_file() and fits(mails.insertion(queue, plan.kernel, old, path), change):
        return place, None
    before, after = udiff.split(change.before), udiff.split(change.after)
    added = len(after) - len(before)
    at = next((n for n, (a, b) in enumerate(zip(before, after)) if a != b), len(before))
    if added <= 0 or after[at + added:] != before[at:] or not 3 <= at <= len(before) - 3:
        raise Failure(f"{old.path}: the tree's {path} must differ by one inserted block of lines, away from "
                      f"its ends; make the other edits there in a patch of their own")
    place = FileDiff(path, [Hunk(at - 2, 6, at - 2, 6, "",
                                 [" " + line.rstrip("\n") for line in before[at - 3:at + 3]])])
    text = "".join(after[at:at + added]).strip("\n") + "\n"
    if not fits(mails.insert(place, text, old.path), change):
        raise Failure(f"{old.path}: what is inserted into {path} is to be separated by exactly one empty line")
    return place, text


def plan_patch(plan, old, new):
    """Plan the mail and its variants; a file whose content is the same keeps its bytes."""
    if replace(old, variants={}) != replace(new, variants={}):
        data = patchfile.unparse(new)
        patchfile.parse(decode(data), new.path)     # the tree's message may break a rule: say so now
        plan.put(new.path, data)
    for name in {**old.variants, **new.variants}:
        variant = new.variant(name)
        if not variant:
            if name in old.variants:
                plan.remove(new.variant_path(name))
        elif variant != old.variant(name):
            plan.put(new.variant_path(name), patchfile.unparse_variant(variant))


def verify(queue, kernel, git, base, left):
    """Weave what is written, without what was @left out, and compare with the tree, commit by commit; returns the Stack."""
    done = tree.stack(git, base, kernel, [woven for woven in mails.woven(queue, kernel) if woven.patch.path not in left], queue)
    form = "%H%x01%T%n%B"
    made, commits = fold.log(git, base, done.tip, form), fold.log(git, base, "HEAD", form)
    if len(made) != len(commits):
        raise Failure(f"{done.refused()}\nNothing was changed.")
    for woven, ours, theirs in zip(done.applied, made, commits):
        (ours, wanted), (theirs, found) = (text.rstrip("\n").split("\x01") for text in (ours, theirs))
        if wanted != found:
            raise Failure(f"{woven.patch.path}: weaving it does not give the commit back (compare {ours[:12]} "
                          f"with {theirs[:12]} in {git.directory}); nothing was changed")
    return done


def check_others(queue, kernel):
    """Say which other kernels cannot be woven any more."""
    for other in queue.kernels:
        if other != kernel:
            try:
                mails.woven(queue, other)
            except Failure as failure:
                note(f"{other.name} cannot be woven now: {failure}")
