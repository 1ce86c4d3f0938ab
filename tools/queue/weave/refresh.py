# SPDX-License-Identifier: GPL-2.0
"""From the git tree back to the queue: what was edited and rebased in build/KERNEL/tree is written
to the patches and new files here, so that weaving gives that tree again.

A diff that still turns the file before the commit into the file after it stays as it is written, so
a refresh without an edit changes no byte. The tree and the repository are changed completely or, on
any error, not at all.
"""

import re
from dataclasses import dataclass, replace
from itertools import takewhile

from base import config, gitcmd, origin
from base.steps import Failure, decode, encode, note, say, step
from weave import fold, gitdiff, inherit, mails, patchfile, series, tree, udiff
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


def refresh(queue, kernel, first=False):
    """Write build/KERNEL/tree back; returns the paths, in the repository, that changed.

    With @first the tree takes precedence, even if the repository was edited since the tree was made.
    """
    git = gitcmd.own(kernel.tree, queue)
    base = check_tree(git, kernel)
    subjects = fold.subjects(git, base)
    made = tree.recorded(git)
    queue = replace(queue, features=made.features)      # of which topics the tree was made
    loaded = series.load(queue)
    entries = series.select(queue, loaded, kernel)
    # A patch that was left out is in the tree if the user has added it by hand.
    left = {path: why for path, why in made.left.items()
            if not any(entry.patch.path == path and entry.patch.subject in subjects for entry in entries)}
    # If a selection uses no options, none are woven.
    edits = {patch.path: edits for patch, edits in mails.edits_of(queue, kernel, False, loaded)}
    entries = [entry for entry in entries if entry.patch.path not in left and (edits[entry.patch.path] or entry.patch.path != mails.OPTIONS)]
    if not first:
        check_untouched(kernel, git, entries, edits)
    match(kernel, entries, [subject for subject in fold.subjects(git, base) if not fold.SQUASHED.match(subject)])
    with step(f"taking back {kernel.tree}"):
        undo = fold.fold(git, base)
        try:
            commits = match(kernel, entries, fold.subjects(git, base), fold.commits_of(git, base))
            plan = Plan(queue, kernel, edits)
            for entry, commit in zip(entries, commits):
                take(plan, git, entry, commit)
            with plan.written():
                done = verify(queue, kernel, git, base, left)
        except BaseException:
            undo()
            raise
        tree.record(git, queue, replace(done, tip=git.commit("HEAD"), left=left))
    tested = origin.recorded(queue, kernel, kernel.tree) == (kernel.package, kernel.version)
    # If the id differs without an edit, the maintainer has to look, see tree.unlike_pin().
    if tested and plan.changed and not queue.features and not left \
            and tree.record_ids(queue, kernel, git, done):
        say(f"    {queue.table.name}: the id of the woven tree")
    for text in plan.notes:
        note(text)
    for path in plan.changed:
        say(f"    {path}")
    if not plan.changed:
        say("    nothing to change: the queue gives this tree already")
    for path, why in left.items():
        note(f"not in the tree, and so as it was: {tree.named(path, why).splitlines()[0]}")
    if plan.changed:
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


def check_untouched(kernel, git, entries, edits):
    """Refuse if patches were edited here since the tree was made: refresh would undo that."""
    state = tree.recorded(git).applied
    edited = [entry.patch.path for entry in entries
              if state.get(entry.patch.path) not in (None, tree.fingerprint(entry.patch, edits[entry.patch.path]))]
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
    """What to write to the repository, kept in memory until it is complete."""

    def __init__(self, queue, kernel, edits):
        self.queue = queue
        self.kernel = kernel
        self.edits = edits      # path of a patch: what it does in the tree, as it was woven
        self.files = {}         # path: (bytes, executable), or None to remove
        self.changed = []
        self.notes = []

    def edit(self, patch, path):
        """What @patch does to @path in the tree, as it was woven, or None."""
        return self.edits[patch.path].get(path)

    def put(self, path, data, executable=False):
        self.files[path] = (encode(data), executable)

    def remove(self, path):
        # Do not remove a file that another patch now carries.
        self.files.setdefault(path, None)

    def written(self):
        return Written(self)


class Written:
    """with-block in which the plan is on the disk; an error in it undoes everything."""

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
    if old.path == mails.OPTIONS and plan.queue.features:
        # The tree has the options of the chosen topics only.
        if message != old.message.rstrip("\n") or not all(fits(plan.edit(old, path), change) for path, change in changes.items()):
            raise Failure(f"{old.path}: edit it in a tree of all topics, `make tree KERNEL={name}`")
        return
    created = [path for path in changes if changes[path].status == "A"]
    new = Patch(old.path, subject, body.strip("\n"), inserts=list(old.inserts), needs=list(old.needs), diffs=dict(old.diffs),
                variants={key: Variant(dict(variant.diffs), list(variant.without), dict(variant.recipes))
                          for key, variant in old.variants.items()})
    new.new = [path for path in old.new if path in created or name != entry.newest]
    new.new += sorted(set(created) - set(new.new))

    edits, entry_texts, blocks = {}, {}, {}
    for path, change in changes.items():
        if change.status == "M" and path in old.inserts:
            edits[path], entry_texts[path], blocks[path] = take_insertion(plan, git, old, change)
        elif change.status == "M":
            edits[path] = take_edit(git, commit, old.edits(name).get(path), change)
    if name == entry.newest:
        new.diffs = edits
    else:
        new.variants[name] = vary(plan, entry, new, changes, edits, blocks)
    follow_up(old, new, name)
    for other in old.variants:
        if patchfile.version(other) < patchfile.version(name):
            plan.notes += [f"{old.variant_path(other)} has hunks of its own in {path}: see whether they need this edit"
                           for path, edit in edits.items() if path in old.variants[other].diffs and edit != old.edits(name).get(path)]
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


def vary(plan, entry, new, changes, edits, blocks):
    """The variant of the plan's kernel: how the commit's @changes, which are these @edits, differ from the next newer kernel's.

    @blocks: the texts that are inserted, by path.
    """
    old, name = entry.patch, plan.kernel.name
    next_newer = entry.kernels[entry.kernels.index(name) + 1]
    newer, before, variant = new.edits(next_newer), old.variant(name), Variant()
    there = {*newer, *(path for path in [*old.new, *old.inserts] if path not in new.without(next_newer))}
    # `Without:` is for a path that would be inherited; it holds for older kernels, too.
    variant.without = sorted(path for path in there if path not in changes)
    back = [path for path in new.new if path in changes and path in new.without(next_newer)]
    if back:
        raise Failure(f"{old.path}: {back[0]} is left out on {next_newer}, and cannot be there on {name}, which is older; "
                      f"make two patches of it")
    for path, edit in edits.items():
        def fitting(diff, path=path):
            return fits(mails.insert(diff, blocks[path], path) if path in blocks else diff, changes[path])

        said = before.of(path)
        if path in newer and fitting(newer[path]):
            continue
        if path in newer and any(said) and edit == old.edits(name).get(path) and not known(newer[path], said):
            variant.put(path, said)
        else:
            variant.put(path, express(newer.get(path), edit, changes[path], fitting))
    for path in old.new:
        if path in before.diffs and path in changes:
            variant.diffs[path] = before.diffs[path]
    return variant


def known(newer, said):
    """Whether a variant with the content @said, see Variant.of(), repeats a hunk of the @newer kernel's diff."""
    lines = [hunk.lines for hunk in newer.hunks]
    return any(hunk.lines in lines for hunk in (said[1].hunks if said[1] else []))


def express(newer, edit, change, fitting):
    """The @edit as its differences from the @newer kernel's diff: (recipe or None, diff or None)."""
    if newer is None:
        return None, edit
    for wider in range(0, 20, 2):
        recipe, own = inherit.differ(newer, edit)
        if not any(recipe):
            return None, edit
        if fitting(inherit.compose(newer, recipe, own)):
            diff = FileDiff(edit.path, own)
            return recipe, udiff.move(diff, [hunk.old_start for hunk in own]) if own else None
        # An identical hunk applies elsewhere: more context distinguishes the two places.
        landed = udiff.land(inherit.compose(newer, recipe, own), change.before)
        starts = landed[1] if landed else [0] * len(edit.hunks)
        hunks = [udiff.widen(hunk, change.before, wider + 2) if recipe[n] and starts[n] != hunk.old_start else hunk
                 for n, hunk in enumerate(edit.hunks)]
        edit = FileDiff(edit.path, hunks)
        if udiff.overlap(edit):
            break
    raise Failure(f"{edit.path}: no context tells the places of the inherited hunks apart; give the hunks of the newest kernel more")


def follow_up(old, new, name):
    """Adapt the variants of kernels older than the one called @name, so that their own hunks mean the same as before."""
    for other in new.chain("0.0"):
        if patchfile.version(other) >= patchfile.version(name):
            continue
        variant = new.variants[other]
        # What the next newer kernel has: the variants before this one are done already.
        was, now = (patch.edits(patchfile.above(other)) for patch in (old, new))
        for path, recipe in list(variant.recipes.items()):
            if path not in now:
                variant.put(path, (None, old.edits(other)[path]))
            elif was[path] != now[path]:
                recipe, own = inherit.follow(was[path], now[path], recipe), variant.diffs.get(path)
                if not recipe:
                    variant.without.append(path)
                whole = recipe == list(range(1, len(now[path].hunks) + 1))
                variant.put(path, (recipe if any(recipe) and not whole else None, own))
        variant.without = [path for path in variant.without if path in {**now, **dict.fromkeys(new.new + new.inserts)}]


def read_changes(git, commit, patch):
    """What @commit changes, by path; refuses changes that a patch here cannot express."""
    raw = git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-commit-id", f"{commit}^", commit)
    changes = {}
    fields = raw.split("\0")
    infos = [info.lstrip(":").split(" ") for info in fields[0:-1:2]]
    texts = git.blobs([blob for info in infos for mode, blob in zip(info, info[2:4]) if mode.startswith("100")])
    for (old_mode, mode, before, after, status), path in zip(infos, fields[1::2]):
        if status == "D" or status == "T" or (status == "M" and old_mode != mode) \
                or mode not in ("100644", "100755"):
            raise Failure(f"the commit of {patch.path} deletes {path} or changes its mode, which a patch here "
                          f"cannot say; only edits and new files are kept")
        if not re.fullmatch(udiff.PATH, path):
            raise Failure(f"{path}: a file name that patches here cannot hold")
        changes[path] = Change(path, status, mode, texts.get(before, ""), texts.get(after, ""))
    if not changes:
        raise Failure(f"the commit of {patch.path} changes nothing; drop it, the file and its line in series")
    return changes


def fits(edit, change):
    """Whether @edit, as it is written, still makes this change, wherever git applies its hunks."""
    if not edit:
        return False
    landed = udiff.land(edit, change.before)
    return bool(landed) and landed[0] == change.after


def exact(edit, before, after):
    """Whether @edit turns @before into @after, each hunk at its line."""
    try:
        return udiff.apply(edit, before) == after
    except udiff.Mismatch:
        return False


def take_edit(git, commit, old, change):
    """The diff of a file that the kernel has, with as little context as the @old one."""
    if fits(old, change):
        return old
    context = max((len(list(takewhile(lambda line: line[0] == " ", side))) for hunk in old.hunks
                   for side in (hunk.lines, hunk.lines[::-1])), default=3) if old else 3
    return gitdiff.commit_diff(git, commit, change.path, max(context, 1))


def take_new_file(plan, git, old, new, change):
    """Take a file that the patch carries: edits are made in the file itself, for all kernels, if possible."""
    queue, path, name = plan.queue, change.path, plan.kernel.name
    executable = change.mode == "100755"
    file = queue.root / path
    if path not in old.new or not file.is_file():
        if path not in old.new:
            plan.notes.append(f"{path} is carried by {new.path} now")
        plan.put(path, change.after, executable)
        return
    shared = decode(file.read_bytes())
    # The text on each kernel that has its own, newest first, and on this one.
    kernels = [other for other in old.chain("0.0") if path in old.variants[other].diffs]
    texts, text = {}, shared
    for other in kernels:
        texts[other] = text = mails.with_edit(old, other, path, old.variants[other].diffs[path], text)
    here = mails.new_file(queue, plan.kernel, old, path)[0]
    plan.put(path, shared, executable)
    if here == change.after:
        return
    merged = gitdiff.merge(git, here, change.after, shared)
    if merged is None:
        texts[name] = change.after
    else:
        plan.put(path, merged, executable)
        for other, text in texts.items():
            texts[other] = change.after if text == here else gitdiff.merge(git, shared, merged, text)
            if texts[other] is None:
                texts[other] = text
                plan.notes.append(f"{new.variant_path(other)}: {path} is as it was there: the edit conflicts; make it by hand")
    newer = shared if merged is None else merged
    for other in sorted(texts, key=patchfile.version, reverse=True):
        variant = new.variants.setdefault(other, Variant())
        edit = old.variant(other).diffs.get(path)
        if not edit or not exact(edit, newer, texts[other]):
            edit = gitdiff.text_diff(git, path, newer, texts[other])
        variant.put(path, (None, edit))
        newer = texts[other]


def take_insertion(plan, git, old, change):
    """(hunk that says where, text to write or None, text in the tree) of a text inserted into a kernel's file."""
    path, queue = change.path, plan.queue
    place = old.edits(plan.kernel.name).get(path)
    now = plan.edit(old, path)
    here = "".join(line + "\n" for line in now.added()).strip("\n") + "\n" if now else ""
    if place and fits(now, change):
        return place, None, here
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
    # The text here lacks the lines of files that this tree does not have.
    whole = mails.shared_file(queue, old, path)[0] if now else here
    merged = gitdiff.merge(git, here, whole, text) if here != whole else text
    if merged is None:
        raise Failure(f"{old.path}: edit {path} in the repository: what is inserted there has lines that this tree does not have")
    return place, merged, text


def plan_patch(plan, old, new):
    """Plan the mail and its variants; a file with the same content keeps its bytes."""
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
    """Weave what was written, without the patches @left out, and compare it with the tree, commit by commit; returns the Stack."""
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
    """Say which other kernels can no longer be woven, or whose source, if it is in build/, no longer takes the patches."""
    for other in queue.kernels:
        if other == kernel:
            continue
        try:
            woven = mails.woven(queue, other)
            if origin.is_tested(queue, other):
                git = tree.pristine(queue, other)
                done = tree.stack(git, git.commit("refs/tags/base"), other, woven, queue, rehearsal=True)
                for path, why in done.left.items():
                    note(f"{other.name} does not take it: {tree.named(path, why).splitlines()[0]}")
        except Failure as failure:
            note(f"{other.name} cannot be woven now: {failure}")
