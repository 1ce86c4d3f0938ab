# SPDX-License-Identifier: GPL-2.0
"""A patch as the queue keeps it: a mail, NAME.patch, and variants of its diffs, NAME.KERNEL.patch.

    Subject: dma-buf: one line

    The message.

    Upstream: v5.15 9d38814d1e34        or `Upstream: no, WHY`
    New: drivers/dma-buf/file.c         a new file that this patch carries, kept at that path
    Inserts: MAINTAINERS                see insertion() in mails.py
    Needs: drivers/dma-buf/fix.patch    an earlier patch without which this one is not safe, see needs.py
    ---
    diff --git a/... b/...              edits to files that the kernel has

`New:`, `Inserts:` and `Needs:` are for the queue and do not reach the commit's message. A variant holds only
diffs: each takes the place of the shared diff of the same file on that kernel, or, for a new file,
edits it. Lines above them say more:

    At: PATH N [N ...]                  the shared diff of PATH holds, with its hunks' old starts
                                        at these lines; one number a hunk
    Without: PATH                       the patch leaves PATH alone on that kernel
"""

import re
from dataclasses import dataclass, field

from base.steps import Failure, decode, encode
from weave import udiff

AT = re.compile(rf"At: ({udiff.PATH})((?: [1-9]\d*)+)")
WITHOUT = re.compile(rf"Without: ({udiff.PATH})")
VARIANT = re.compile(r"(.+)\.(\d+\.\d+)\.patch")
UPSTREAM = re.compile(r"Upstream: (?:(no), \S.*|(v\d+\.\d+\S*) [0-9a-f]{12,40}\b.*)")
TRAILER = re.compile(r"[A-Z][A-Za-z-]*: \S.*|\s+\S.*")
# What git am would take for the start of the diff, or for a header.
BREAKS = re.compile(r"diff -|Index: |---(\s*$| \S)")
HEADERS = re.compile(r">?From |(From|Date|Subject):", re.IGNORECASE)


@dataclass
class Variant:
    diffs: dict = field(default_factory=dict)
    without: list = field(default_factory=list)
    at: dict = field(default_factory=dict)          # path: old starts of the shared diff's hunks

    def __bool__(self):
        return bool(self.diffs or self.without or self.at)


@dataclass
class Patch:
    path: str                   # of the file, in the repository
    subject: str
    body: str                   # the message with its trailers, without a newline at its end
    new: list = field(default_factory=list)
    inserts: list = field(default_factory=list)
    needs: list = field(default_factory=list)
    diffs: dict = field(default_factory=dict)       # path: FileDiff
    variants: dict = field(default_factory=dict)    # kernel's name: Variant

    @property
    def message(self):
        return f"{self.subject}\n\n{self.body}\n"

    @property
    def upstream(self):
        """The state named by the Upstream: trailer, "no" or a version; "" if there is none."""
        for line in self.body.split("\n\n")[-1].split("\n"):
            match = UPSTREAM.fullmatch(line)
            if match:
                return match[1] or match[2]
        return ""

    def variant(self, name):
        return self.variants.get(name) or Variant()

    def variant_path(self, name):
        return f"{self.path.removesuffix('.patch')}.{name}.patch"

    def diff(self, name, path):
        """The diff of @path that holds for the kernel called @name, or None."""
        variant, shared = self.variant(name), self.diffs.get(path)
        if path in variant.at:
            return udiff.move(shared, variant.at[path])
        return variant.diffs.get(path) or shared

    def where(self, name, path):
        """The file in the repository that says what happens to @path on that kernel."""
        variant = self.variant(name)
        if path in variant.diffs or path in variant.at:
            return self.variant_path(name)
        return path if path in self.new else self.path


def read(root, path):
    """Read @root/@path and its variants."""
    file = root / path
    if not file.is_file():
        raise Failure(f"series: there is no patch {path}; write it or take its line out")
    patch = parse(decode(file.read_bytes()), path)
    stem = file.name.removesuffix(".patch")
    for other in sorted(file.parent.glob("*.patch")):
        match = VARIANT.fullmatch(other.name)
        if match and match[1] == stem:
            name = str(other.relative_to(root))
            patch.variants[match[2]] = parse_variant(decode(other.read_bytes()), name)
            check_at(patch, match[2])
    return patch


def check_at(patch, kernel):
    """Refuse `At:` lines of a variant that do not go with the shared diff."""
    name = patch.variant_path(kernel)
    for path, starts in patch.variants[kernel].at.items():
        shared = patch.diffs.get(path)
        advice = f"correct the line, or take it out, `make tree KERNEL={kernel} LOOSE=1` and `make refresh`"
        if not shared:
            raise Failure(f"{name}: `At: {path}`, but {patch.path} has no diff of that file to place; take the "
                          f"line out, or write the whole diff here")
        if len(starts) != len(shared.hunks):
            raise Failure(f"{name}: `At: {path}` with {len(starts)} line numbers, but the diff in {patch.path} has "
                          f"{len(shared.hunks)} hunks; {advice}")
        number = udiff.overlap(udiff.move(shared, starts))
        if number:
            raise Failure(f"{name}: `At: {path}`: with these line numbers hunk {number} overlaps the one before or "
                          f"is out of order; {advice}")


def parse(text, name):
    head, separator, tail = ("\n" + text).partition("\n---\n")
    if not separator:
        raise Failure(f"{name}: no line `---` after the message")
    lines = head[1:].split("\n")

    def fail(number, message):
        raise Failure(f"{name}:{number + 1}: {message}")

    subject = lines[0].removeprefix("Subject: ")
    if subject == lines[0] or not subject.strip() or subject != subject.strip():
        fail(0, "the first line is `Subject: ` and one line of text")
    if subject.startswith("["):
        fail(0, "git am would cut off the [bracket]; the weaver numbers the patches")
    if len(lines) < 3 or lines[1] or not lines[2]:
        fail(1, "the Subject is followed by one empty line and the message")
    if HEADERS.match(lines[2]):
        fail(2, "git am would take this line for a mail header; word it differently")
    for number, line in enumerate(lines[2:], 2):
        if line != line.rstrip():
            fail(number, "blanks at the end of the line")
        if not line and not lines[number - 1]:
            fail(number, "two empty lines in a row")
        if BREAKS.match(line):
            fail(number, f"git am would end the message at {line!r}; word or indent it differently")
    while not lines[-1]:
        lines.pop()

    start = len(lines) - lines[::-1].index("")      # of the last paragraph
    metadata = {"New": [], "Inserts": [], "Needs": []}
    kept = []
    for number, line in enumerate(lines):
        match = re.fullmatch(rf"({'|'.join(metadata)}): ({udiff.PATH})", line)
        if match and number < start:
            fail(number, f"`{match[1]}:` belongs to the trailers, in the last paragraph")
        if match:
            metadata[match[1]].append(match[2])
        else:
            kept.append(line)
    return Patch(name, subject, "\n".join(kept[2:]).rstrip("\n"), metadata["New"], metadata["Inserts"],
                 metadata["Needs"], udiff.parse(tail, name, first=len(head[1:].split("\n")) + 2))


def parse_variant(text, name):
    variant, number = Variant(), 1
    while match := re.match(r"((?:At|Without):.*)\n", text):
        take_line(variant, match[1], f"{name}:{number}")
        text, number = text[match.end():], number + 1
    variant.diffs = udiff.parse(text, name, first=number)
    if not variant:
        raise Failure(f"{name}: an empty variant; remove the file")
    for path in {**variant.at, **dict.fromkeys(variant.without)}:
        said = [f"`Without: {path}`"] * variant.without.count(path)
        said += [f"`At: {path}`"] * (path in variant.at) + ["a diff of it"] * (path in variant.diffs)
        if len(said) > 1:
            raise Failure(f"{name}: {' and '.join(said)}; one is too many")
    return variant


def take_line(variant, line, where):
    if match := WITHOUT.fullmatch(line):
        variant.without.append(match[1])
    elif not (match := AT.fullmatch(line)):
        raise Failure(f"{where}: {line!r} is neither `Without: PATH` nor `At: PATH N [N ...]`, a line number for each "
                      f"hunk of the shared diff")
    elif match[1] in variant.at:
        raise Failure(f"{where}: `At: {match[1]}` is there twice; join the numbers in one line")
    else:
        variant.at[match[1]] = [int(word) for word in match[2].split()]


def unparse(patch):
    """The bytes of NAME.patch."""
    metadata = [f"{key}: {path}" for key, paths in (("New", patch.new), ("Inserts", patch.inserts), ("Needs", patch.needs))
                for path in paths]
    text = f"Subject: {patch.subject}\n\n{patch.body}\n"
    if metadata:
        trailers = all(map(TRAILER.fullmatch, patch.body.split("\n\n")[-1].split("\n")))
        text += ("" if trailers else "\n") + "".join(line + "\n" for line in metadata)
    return encode(text + "---\n" + unparse_diffs(patch.diffs))


def unparse_variant(variant):
    """The bytes of NAME.KERNEL.patch."""
    lines = [f"Without: {path}\n" for path in sorted(variant.without)]
    lines += [f"At: {path} {' '.join(map(str, variant.at[path]))}\n" for path in sorted(variant.at)]
    return encode("".join(lines) + unparse_diffs(variant.diffs))


def unparse_diffs(diffs):
    return "".join(str(diffs[path]) for path in sorted(diffs))
