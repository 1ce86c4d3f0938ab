# SPDX-License-Identifier: GPL-2.0
"""The file `series`: the topics, and the order of their patches.

    topic NAME [needs NAME...]: what it is
    path-of-the-patch   kernels   upstream   [control]

A topic's patches are the lines below it. kernels is one (5.10), a range (5.10..6.12) or `all`; upstream is the same as
in the patch's trailer; `control` marks a test-only patch, which the negative-control kernel also gets. The first topic is
part of every selection.
"""

import re
from dataclasses import dataclass, field

from base.steps import Failure
from weave import patchfile
from weave.patchfile import Patch

TOPIC = re.compile(r"topic ([a-z][a-z0-9-]*)(?: needs ((?:[a-z0-9-]+ )*[a-z0-9-]+))?: (\S.*)")


@dataclass
class Topic:
    name: str
    needs: list             # names of earlier topics
    title: str
    entries: list = field(default_factory=list)


@dataclass
class Entry:
    patch: Patch
    kernels: list           # names, oldest first
    upstream: str
    control: bool
    topic: Topic

    @property
    def newest(self):
        """The kernel that NAME.patch and the new files are written for."""
        return self.kernels[-1]


def load(queue):
    """The series as Entries. Reads every patch and checks the rules that weaving relies on."""
    entries, topics = [], {}
    try:
        text = queue.series.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read {queue.series}: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), 1):
        line, where = line.partition("#")[0].strip(), f"series:{number}"
        if line.startswith("topic "):
            topic = parse_topic(line, topics, where)
            topics[topic.name] = topic
        elif line and not topics:
            raise Failure(f"{where}: {line.split()[0]} is under no topic; put `topic NAME: what it is` above it")
        elif line:
            entries.append(parse_line(queue, line.split(), list(topics.values())[-1], where))
    for topic in topics.values():
        topic.entries = [entry for entry in entries if entry.topic is topic]
        if not topic.entries:
            raise Failure(f"series: the topic {topic.name} has no patch")
    for name in queue.features:
        if name not in topics:
            raise Failure(f"FEATURES: there is no topic {name!r}; there is: {' '.join(topics)}")
    check(entries)
    return entries


def parse_topic(line, topics, where):
    match = TOPIC.fullmatch(line)
    if not match:
        raise Failure(f"{where}: a topic is `topic NAME [needs NAME...]: what it is`, not {line!r}")
    if match[1] in topics:
        raise Failure(f"{where}: the topic {match[1]} is there twice; put its patches together")
    needs = (match[2] or "").split()
    for name in needs:
        if name not in topics:
            raise Failure(f"{where}: {match[1]} needs {name!r}, which is no topic before it")
    return Topic(match[1], needs, match[3])


def topics(entries):
    """The topics, by name, in their order."""
    return {entry.topic.name: entry.topic for entry in entries}


def with_needs(entries, names):
    """The names of the topics @names, of those that they need, and of the first topic, in their order."""
    known = topics(entries)
    wanted, rest = set(list(known)[:1]), list(names)
    while rest:
        name = rest.pop()
        if name not in wanted:
            wanted.add(name)
            rest += known[name].needs
    return [name for name in known if name in wanted]


def parse_line(queue, words, topic, where):
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
    return Entry(patch, kernels, words[2], len(words) == 4, topic)


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
    """Check that each patch and each subject is there once, and that each new file belongs to one patch and no other touches it."""
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
    earlier = {}
    for entry in entries:
        patch = entry.patch
        for path in patch.needs:
            if path not in earlier:
                raise Failure(f"{patch.path}: `Needs: {path}`, which is no patch before it in series")
            check_topic(entries, entry.topic.name, earlier[path], f"{patch.path}: `Needs: {path}`")
        earlier[patch.path] = entry.topic.name
        files = {patch.path: patch.diffs}
        files.update((patch.variant_path(name), variant.diffs) for name, variant in patch.variants.items())
        for where, diffs in files.items():
            for path in diffs:
                # A variant may edit the new file of its own patch; the place of an insertion is a diff.
                own = carriers.get(path) == patch.path and (where != patch.path or path in patch.inserts)
                if path in carriers and not own:
                    raise Failure(f"{where}: a diff of {path}, which {carriers[path]} carries whole; edit "
                                  f"that file itself")


def check_topic(entries, name, other, what):
    """Refuse @what a patch of the topic called @name uses of the topic @other, unless @name needs @other."""
    if other not in with_needs(entries, [name]):
        raise Failure(f"{what}, of the topic {other}: say in series that {name} needs it, or move the patch")


def chosen(queue, entries=None):
    """The names of the topics that @queue uses, in their order. @entries: a loaded series."""
    entries = entries or load(queue)
    return with_needs(entries, queue.features or topics(entries))


def select(queue, entries, kernel, control=False):
    """The patches for @kernel of the topics that @queue uses, in order; with @control only the test-only ones."""
    wanted = chosen(queue, entries)
    return [entry for entry in entries if kernel.name in entry.kernels and entry.topic.name in wanted
            and (entry.control or not control)]
