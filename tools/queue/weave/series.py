# SPDX-License-Identifier: GPL-2.0
"""The file `series`: the one order of the patches, and the kernels each is for.

    path-of-the-patch   kernels   upstream   [control]

kernels is one (5.10), a range (5.10..6.12) or `all`; upstream agrees with the patch's trailer;
`control` marks a test-only patch, which the negative-control kernel gets too.
"""

from dataclasses import dataclass

from base.steps import Failure
from weave import patchfile
from weave.patchfile import Patch


@dataclass
class Entry:
    patch: Patch
    kernels: list           # names, oldest first
    upstream: str
    control: bool

    @property
    def newest(self):
        """The kernel that NAME.patch and the new files are written for."""
        return self.kernels[-1]


def load(queue):
    """The series as Entries, every patch read and the rules that weaving relies on checked."""
    entries = []
    try:
        text = queue.series.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read {queue.series}: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            entries.append(parse_line(queue, words, f"series:{number}"))
    check(entries)
    return entries


def parse_line(queue, words, where):
    if len(words) not in (3, 4) or (len(words) == 4 and words[3] != "control"):
        raise Failure(f"{where}: a line is `path kernels upstream [control]`, not {' '.join(words)!r}")
    patch = patchfile.read(queue.root, words[0])
    kernels = parse_kernels(queue, words[1], where)
    if patch.upstream != words[2]:
        raise Failure(f"{where}: upstream is {words[2]!r} here and {patch.upstream or 'missing'!r} in the "
                      f"Upstream: trailer of {patch.path}; make them agree (`Upstream: VERSION COMMIT` or "
                      f"`Upstream: no, WHY`)")
    for name in patch.variants:
        if name not in kernels:
            raise Failure(f"{patch.variant_path(name)}: {where} does not have this patch for {name}; "
                          f"correct the range or remove the file")
        if name == kernels[-1]:
            raise Failure(f"{patch.variant_path(name)}: {name} is the newest kernel of this patch, so its "
                          f"diffs belong in {patch.path}")
    return Entry(patch, kernels, words[2], len(words) == 4)


def parse_kernels(queue, word, where):
    names = [kernel.name for kernel in queue.kernels]
    if word == "all":
        return names
    ends = word.split("..")
    if len(ends) > 2 or not all(end in names for end in ends):
        raise Failure(f"{where}: kernels are `all`, NAME or OLDEST..NEWEST, of {' '.join(names)}; "
                      f"not {word!r}")
    first, last = names.index(ends[0]), names.index(ends[-1])
    if first > last or (len(ends) == 2 and first == last):
        raise Failure(f"{where}: {word} is no range from an older to a newer kernel")
    return names[first:last + 1]


def check(entries):
    """Each patch once, each subject once, each new file in one patch and touched by no other."""
    paths, subjects, carriers = {}, {}, {}
    for entry in entries:
        patch = entry.patch
        if patch.path in paths:
            raise Failure(f"series: {patch.path} is there twice")
        if patch.subject in subjects:
            raise Failure(f"{patch.path}: the subject of {subjects[patch.subject]} again; refresh tells "
                          f"patches apart by it")
        paths[patch.path] = subjects[patch.subject] = patch.path
        for path in patch.new + patch.inserts:
            if path in carriers:
                raise Failure(f"{patch.path}: {path} is carried by {carriers[path]} already")
            carriers[path] = patch.path
    earlier = set()
    for entry in entries:
        patch = entry.patch
        for path in patch.needs:
            if path not in earlier:
                raise Failure(f"{patch.path}: `Needs: {path}`, which is no patch before it in series")
        earlier.add(patch.path)
        files = {patch.path: patch.diffs}
        files.update((patch.variant_path(name), variant.diffs) for name, variant in patch.variants.items())
        for where, diffs in files.items():
            for path in diffs:
                # A variant may edit the new file of its own patch; an insertion has its place as a diff.
                own = carriers.get(path) == patch.path and (where != patch.path or path in patch.inserts)
                if path in carriers and not own:
                    raise Failure(f"{where}: a diff of {path}, which {carriers[path]} carries whole; edit "
                                  f"that file itself")


def select(entries, kernel, control=False):
    """The patches for @kernel, in order; with @control only the test-only ones."""
    return [entry for entry in entries
            if kernel.name in entry.kernels and (entry.control or not control)]
