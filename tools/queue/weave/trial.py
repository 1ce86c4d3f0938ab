# SPDX-License-Identifier: GPL-2.0
"""Tries each patch for a kernel on a user's tree, in a temporary index with temporary objects, so that the tree does not
change. A patch that fails is tried again by three-way merge, if the tested source is in build/.

Two kinds of patches are not tried: those that a tree between two kernels has from its own release, and those that edit
only directories that the tree lacks.
"""

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from base import gitcmd
from base.gitcmd import Git
from weave import blobs, gitdiff, mails, merge, patchfile, series, tree

ZERO = "0" * 40


@dataclass
class Trial:
    """What became of each patch for @kernel; @strict: the Stack of those that apply, @merged: with merges, or None."""

    queue: object
    kernel: object
    git: Git
    patches: list                   # Woven, all of the selection
    topics: dict                    # path of a patch -> its topic
    entries: list
    dropped: dict                   # path -> why it is not tried
    missing: dict                   # path -> why there is no patch for what the tree would need
    strict: tree.Stack
    merged: object = None
    sides: object = None
    fuzz: set = field(default_factory=set)      # paths of patches that apply with less context
    three_way: set = field(default_factory=set)     # of those that were merged

    def stack(self, merging):
        return self.merged if merging and self.merged else self.strict

    def bad(self, merging, lenient):
        """{path: why} of the patches that keep their topics from being applied completely; @lenient: not those that the tree has."""
        done = self.stack(merging)
        found = {**self.missing, **done.left}
        if not lenient:
            found.update(self.dropped)
            found.update(dict.fromkeys(done.there, "the tree has it already"))
        return found

    def topics_of(self, paths):
        return {self.topics[path] for path in paths}

    def mails(self, merging):
        """(name, bytes) of each patch that applies; a merged one has the hunks for this tree."""
        merged = self.merged_mails()
        return [(woven.name, merged.get(woven.patch.path, woven.data)) for woven in self.stack(merging).applied]

    def merged_mails(self):
        """{path of the patch: its mail} of each that was merged."""
        found = {}
        for number, (woven, step) in enumerate(self.steps(), 1):
            if woven.patch.path in self.three_way:
                edits = {path: self.edit(path, woven.edits[path], *(blob for _, blob in step[path])) for path in step}
                lines = {path: blobs.line(before[1], after[1], "" if edits[path].new_mode else after[0])
                         for path, (before, after) in step.items()}
                found[woven.patch.path] = mails.mail(self.queue, self.kernel, woven.patch, edits, number, len(self.patches), lines)
        return found

    def steps(self):
        """(Woven, {path: ((mode, id) before, (mode, id) after)} of files that change) of each that applies or merges."""
        at = dict(self.merged.base) if self.merged else {}
        for woven, files in zip(self.merged.applied, self.merged.files) if self.merged else ():
            yield woven, {path: (at.get(path, ("", ZERO)), file) for path, file in files.items() if at.get(path) != file}
            at.update(files)

    def merged_blobs(self):
        """The ids of files in this tree before and after each patch that was merged."""
        return sorted({blob for woven, step in self.steps() if woven.patch.path in self.three_way
                       for ends in step.values() for _, blob in ends} - {ZERO})

    def edit(self, path, edit, before, after):
        if edit.new_mode:
            return edit
        texts = self.git.blobs([before, after])
        return gitdiff.text_diff(self.git, path, texts[before], texts[after])


@contextmanager
def scratch(git, queue):
    """git for the tree of @git, with an index and objects that are removed after the with-block."""
    with tempfile.TemporaryDirectory(prefix="queue-") as place:
        own = gitcmd.own(git.directory, queue)
        yield Git(git.directory, {**own.env, "GIT_OBJECT_DIRECTORY": place,
                                  "GIT_ALTERNATE_OBJECT_DIRECTORIES": git.git_path("objects")}, own.options)


def run(queue, kernel, git, head, name, merging):
    """Try the patches for @kernel on the commit @head, a Linux @name; with @merging try merging, too. Returns a Trial."""
    entries = series.load(queue)
    patches = mails.woven(queue, kernel, entries=entries)
    topics = {entry.patch.path: entry.topic.name for entry in entries}
    dropped = {**lacking(git, head, patches), **released(patches, kernel, name)}
    tried = [woven for woven in patches if woven.patch.path not in dropped]
    fuzz = set()

    def look(git, index, woven):
        if git.attempt("apply", "--cached", "--check", "-C1", "-", input=woven.data, env=index)[0] == 0:
            fuzz.add(woven.patch.path)
        return False

    trial = Trial(queue, kernel, git, patches, topics, entries, dropped, older(queue, entries, kernel, name),
                  tree.stack(git, head, kernel, tried, queue, rehearsal=True, fallback=look), fuzz=fuzz)
    if merging and (trial.strict.left or trial.strict.there):
        trial.sides = merge.Sides(queue, kernel, patches)

        def merge_it(git, index, woven):
            sides = trial.sides.of(woven)
            if sides is None or not merge.merge(git, index, woven.edits, sides):
                return False
            trial.three_way.add(woven.patch.path)
            return True

        trial.merged = tree.stack(git, head, kernel, tried, queue, rehearsal=True, fallback=merge_it)
    return trial


def lacking(git, head, patches):
    """{path: why} of @patches that edit only files in directories that the tree lacks: it does not have that driver."""
    places = {woven.patch.path: {str(PurePath(path).parent) for path, edit in woven.edits.items() if not edit.new_mode}
              for woven in patches if not woven.patch.inserts and not all(edit.new_mode for edit in woven.edits.values())}
    wanted = sorted(set().union(*places.values()))
    found = git("cat-file", "--batch-check=%(objecttype)", input="".join(f"{head}:{path if path != '.' else ''}\n" for path in wanted))
    there = {path for path, kind in zip(wanted, found.splitlines()) if kind == "tree"}
    return {path: f"the tree has no {min(found)}" for path, found in places.items() if not found & there}


def released(patches, kernel, name):
    """{path: why} of @patches that a tree of the release @name has from upstream, if that is another than the kernel's."""
    return {woven.patch.path: f"Linux {name} has it, since {woven.patch.upstream}" for woven in patches
            if name != kernel.name and since(woven.patch.upstream, name)}


def older(queue, entries, kernel, name):
    """{path: why} of patches that the queue has only for kernels before @kernel, because @kernel has them from a release after @name."""
    chosen = series.chosen(queue, entries)
    return {entry.patch.path: f"Linux {kernel.name} has it since {entry.upstream}, {name} has not" for entry in entries
            if name != kernel.name and entry.topic.name in chosen and kernel.name not in entry.kernels
            and since(entry.upstream, kernel.name) and not since(entry.upstream, name)
            and any(patchfile.version(other) < patchfile.version(kernel.name) for other in entry.kernels)}


def since(upstream, name):
    """Whether Linux @name has what the release @upstream brought; "no" if none did."""
    if not upstream.startswith("v"):
        return False
    return patchfile.version(".".join(upstream[1:].split("-")[0].split(".")[:2])) <= patchfile.version(name)


def whole(queue, kernel, git, head, name, merging, lenient):
    """The Trial of those topics of @queue that apply completely, or None; and the Trial of all its topics.

    Leaving out a topic can break a later one, so the rest is tried again until all of a selection applies.
    """
    first = trial = run(queue, kernel, git, head, name, merging)
    while bad := trial.bad(merging, lenient):
        out = trial.topics_of(bad)
        rest = [topic for topic in series.chosen(trial.queue, trial.entries)
                if not out.intersection(series.with_needs(trial.entries, [topic]))]
        if not rest:
            return None, first
        trial = run(replace(queue, features=tuple(rest)), kernel, git, head, name, merging)
    return trial, first


def shortest(trial):
    """The smallest list of topics that selects what @trial has."""
    chosen = series.chosen(trial.queue, trial.entries)
    needed = {name for topic in chosen for name in series.with_needs(trial.entries, [topic]) if name != topic}
    return [topic for topic in chosen if topic not in needed] or chosen
