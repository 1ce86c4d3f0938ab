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

`New:`, `Inserts:` and `Needs:` are for the queue and do not reach the commit's message.

NAME.patch is for the newest of its kernels. Each older kernel inherits from the next newer one, except for what its
variant says. A variant contains only diffs. The diff of a file that the kernel has replaces the inherited one; the diff
of a new file is applied to the inherited text. Lines above the diffs say more:

    Hunks: PATH 1-3 + 5                 the hunks with these numbers of the inherited diff of PATH apply; a + is a
                                        hunk of this variant's diff
    Without: PATH                       the patch leaves PATH alone on that kernel
"""

import re
from dataclasses import dataclass, field

from base.steps import Failure, decode, encode
from weave import inherit, udiff

HUNKS = re.compile(rf"Hunks: ({udiff.PATH}) ([-+\d ]+)")
WITHOUT = re.compile(rf"Without: ({udiff.PATH})")
VARIANT = re.compile(r"(.+)\.(\d+\.\d+)\.patch")
UPSTREAM = re.compile(r"Upstream: (?:(no), \S.*|(v\d+\.\d+\S*) [0-9a-f]{12,40}\b.*)")
TRAILER = re.compile(r"[A-Z][A-Za-z-]*: \S.*|\s+\S.*")
# Lines that git am would mistake for the start of the diff, or for a header.
BREAKS = re.compile(r"diff -|Index: |---(\s*$| \S)")
HEADERS = re.compile(r">?From |(From|Date|Subject):", re.IGNORECASE)


@dataclass
class Variant:
    diffs: dict = field(default_factory=dict)
    without: list = field(default_factory=list)
    recipes: dict = field(default_factory=dict)     # path: which inherited hunks apply, see inherit.py

    def __bool__(self):
        return bool(self.diffs or self.without or self.recipes)

    def of(self, path):
        """What the variant says of @path: (recipe or None, diff or None)."""
        return self.recipes.get(path), self.diffs.get(path)

    def put(self, path, said):
        """Set what the variant says of @path, in the form of of()."""
        for place, what in zip((self.recipes, self.diffs), said):
            place.pop(path, None)
            if what:
                place[path] = what


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

    def chain(self, name):
        """The kernels whose variants apply to the one called @name, newest first."""
        return sorted((other for other in self.variants if version(other) >= version(name)), key=version, reverse=True)

    def edits(self, name):
        """{path: FileDiff} of the files that the kernel called @name has."""
        found = dict(self.diffs)
        for other in self.chain(name):
            found = inherited(found, self.variants[other], self.new)
        return found

    def without(self, name):
        """The paths that the patch changes on newer kernels, but not on that one."""
        return {path for other in self.chain(name) for path in self.variants[other].without}

    def where(self, name, path):
        """The file in the repository that says what happens to @path on that kernel."""
        for other in reversed(self.chain(name)):
            variant = self.variants[other]
            if path in variant.diffs or path in variant.recipes:
                return self.variant_path(other)
        return path if path in self.new else self.path


def version(name):
    """(5, 10) of "5.10", to sort by."""
    return tuple(map(int, name.split(".")))


def above(name):
    """A version to which the variants of all newer kernels apply, but not that of the kernel called @name."""
    major, minor = version(name)
    return f"{major}.{minor + 1}"


def inherited(newer, variant, new):
    """The diffs of an older kernel: those of the next @newer one, changed as its @variant says, without @new files."""
    found = {path: diff for path, diff in newer.items() if path not in variant.without}
    for path in {**variant.diffs, **variant.recipes}:
        recipe, diff = variant.of(path)
        if path not in new:
            found[path] = inherit.compose(newer[path], recipe, diff.hunks if diff else []) if recipe else diff
    return found


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
    check_variants(patch)
    return patch


def check_variants(patch):
    """Refuse a variant that refers to hunks that it does not inherit."""
    newer, gone = patch.diffs, set()
    for name in sorted(patch.variants, key=version, reverse=True):
        variant, where = patch.variants[name], patch.variant_path(name)
        for path in variant.without:
            if path not in newer and (path not in patch.new + patch.inserts or path in gone):
                raise Failure(f"{where}: `Without: {path}`, but the patch does not touch it on newer kernels; take the line out")
        gone.update(variant.without)
        for path, recipe in variant.recipes.items():
            number = len(newer[path].hunks) if path in newer else 0
            own = len(variant.diffs[path].hunks) if path in variant.diffs else 0
            if not max(recipe) or max(recipe) > number:
                raise Failure(f"{where}: `Hunks: {path} {inherit.numbers(recipe)}`, but the inherited diff has {number} hunks; "
                              f"correct the line, or take it out and write the whole diff")
            if recipe.count(inherit.OWN) != own:
                raise Failure(f"{where}: `Hunks: {path}` with {recipe.count(inherit.OWN)} of `+`, but there are {own} hunks below")
        newer = inherited(newer, variant, patch.new)
        for path, diff in newer.items():
            if udiff.overlap(diff):
                raise Failure(f"{where}: {path}: hunk {udiff.overlap(diff)} overlaps the one before or is out of order")


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
    while match := re.match(r"((?:Hunks|Without):.*)\n", text):
        take_line(variant, match[1], f"{name}:{number}")
        text, number = text[match.end():], number + 1
    variant.diffs = udiff.parse(text, name, first=number)
    if not variant:
        raise Failure(f"{name}: an empty variant; remove the file")
    for path in variant.without:
        if variant.without.count(path) > 1 or path in variant.diffs or path in variant.recipes:
            raise Failure(f"{name}: `Without: {path}` and something else of it; one is too many")
    return variant


def take_line(variant, line, where):
    match = HUNKS.fullmatch(line)
    recipe = inherit.recipe_of(match[2]) if match else None
    if without := WITHOUT.fullmatch(line):
        variant.without.append(without[1])
    elif not recipe:
        raise Failure(f"{where}: {line!r} is neither `Without: PATH` nor `Hunks: PATH 1-3 + 5`, numbers of the inherited "
                      f"hunks in their order and a + for each of those below")
    elif match[1] in variant.recipes:
        raise Failure(f"{where}: `Hunks: {match[1]}` is there twice; join them in one line")
    else:
        variant.recipes[match[1]] = recipe


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
    lines += [f"Hunks: {path} {inherit.numbers(variant.recipes[path])}\n" for path in sorted(variant.recipes)]
    return encode("".join(lines) + unparse_diffs(variant.diffs))


def unparse_diffs(diffs):
    return "".join(str(diffs[path]) for path in sorted(diffs))
