# SPDX-License-Identifier: GPL-2.0
"""Applies a patch by three-way merge with its files before and after it on the kernel that it was made for."""

from pathlib import PurePath

from weave import blobs, gitdiff, tree, udiff


class Sides:
    """The files of the tested source, in build/KERNEL/pristine, before and after each of @patches."""

    def __init__(self, queue, kernel, patches):
        self.git = tree.pristine(queue, kernel)
        done = tree.stack(self.git, self.git.commit("refs/tags/base"), kernel, patches, queue, rehearsal=True)
        self.known = blobs.of(done)
        self.ids = {}           # path of the patch -> {path: (id before or "", id after)}
        at = {path: blob for path, (_, blob) in done.base.items()}
        for woven, files in zip(done.applied, done.files):
            self.ids[woven.patch.path] = {path: (at.get(path, ""), blob) for path, (_, blob) in files.items()}
            at.update({path: blob for path, (_, blob) in files.items()})

    def of(self, woven):
        """{path: (text before or None, text after)}, or None if the patch does not apply to that source."""
        ids = self.ids.get(woven.patch.path)
        if ids is None:
            return None
        texts = self.git.blobs({blob for pair in ids.values() for blob in pair if blob})
        return {path: (texts.get(before), texts[after]) for path, (before, after) in ids.items()}

    def all(self):
        """The ids of all those files."""
        return sorted({blob for ids in self.ids.values() for pair in ids.values() for blob in pair if blob})


def objects(edit, text):
    """A Makefile's @text with the lines that @edit adds, or None. If all of them are obj-... lines, their order does not matter:
    they are added after the line that precedes them in @edit, or before the one that follows, whatever else is there."""
    lines = udiff.split(text)
    for hunk in edit.hunks:
        signs = "".join(line[0] for line in hunk.lines)
        first, end = signs.find("+"), signs.rfind("+") + 1
        added = [line[1:] + "\n" for line in hunk.lines[first:end]]
        if set(signs[first:end]) != {"+"} or "-" in signs or not all(map(is_object, added)):
            return None
        before, after = ("".join(line[1:] + "\n" for line in side) for side in (hunk.lines[:first][-1:], hunk.lines[end:][:1]))
        if is_object(before) and lines.count(before) == 1:
            place = lines.index(before) + 1
        elif is_object(after) and lines.count(after) == 1:
            place = lines.index(after)
        else:
            return None
        lines[place:place] = [line for line in added if line not in lines]
    return "".join(lines)


def is_object(line):
    """Whether @line is a complete assignment of objects."""
    return line.startswith("obj-") and not line.endswith("\\\n")


def merge(git, index, edits, sides):
    """Merge a patch with these @edits into the index, if all of its files merge; returns whether they did.

    @sides: {path: (text before or None, text after or None)}.
    """
    results = {}
    for path, edit in edits.items():
        before, after = sides.get(path, (None, None))
        ours = git.attempt("cat-file", "blob", f":{path}", env=index)
        if "\r" in ours[1]:
            return False        # a mail cannot carry it
        if after is None or edit.new_mode:
            if not ours[0]:
                return False        # a new file that exists already
            continue
        text = None if ours[0] else gitdiff.merge(git, before, ours[1], after)
        if text is None and not ours[0] and PurePath(path).name == "Makefile":
            text = objects(edit, ours[1])
        if text is None:
            return False
        results[path] = text
    for path, edit in edits.items():
        if edit.new_mode:
            results[path] = "".join(line + "\n" for line in edit.added())
    for path, text in results.items():
        blob = git("hash-object", "-w", "--stdin", input=text).strip()
        mode = edits[path].new_mode or git("ls-files", "--stage", "--", path, env=index).split(" ")[0]
        git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", env=index)
    return True
