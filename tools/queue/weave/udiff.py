# SPDX-License-Identifier: GPL-2.0
"""Unified diffs, strictly: parsed with every count checked, printed as git prints them, applied
without fuzz or offset.

Only edits of files are accepted, in git's format without `index` lines: new files are kept as files,
and the queue has no renames, changes of modes or binary files.
"""

import re
from dataclasses import dataclass, field, replace

from base.steps import Failure

PATH = r"[A-Za-z0-9_.+,@/-]+"
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)")
NO_NEWLINE = "\\ No newline at end of file"


@dataclass
class Hunk:
    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: str
    lines: list         # with their leading ' ', '+', '-' or '\\', without newline

    @property
    def header(self):
        def place(start, count):
            return f"{start}" if count == 1 else f"{start},{count}"
        return (f"@@ -{place(self.old_start, self.old_count)} "
                f"+{place(self.new_start, self.new_count)} @@{self.section}")

    def side(self, sign):
        """The hunk's text before ('-') or after ('+'), as lines with their newline."""
        text = []
        for number, line in enumerate(self.lines):
            if line[0] in (" ", sign):
                last = self.lines[number + 1:number + 2] == [NO_NEWLINE]
                text.append(line[1:] if last else line[1:] + "\n")
        return text


@dataclass
class FileDiff:
    path: str
    hunks: list = field(default_factory=list)
    new_mode: str = ""      # "100644" or "100755" if the diff creates the file

    def __str__(self):
        return self.text()

    def text(self, index=""):
        """The diff as git prints it, with the line @index, if that is not empty."""
        lines = [f"diff --git a/{self.path} b/{self.path}"]
        if self.new_mode:
            lines += [f"new file mode {self.new_mode}"]
        lines += [index] * bool(index)
        lines += [f"--- a/{self.path}" if not self.new_mode else "--- /dev/null", f"+++ b/{self.path}"]
        for hunk in self.hunks:
            lines += [hunk.header, *hunk.lines]
        return "".join(line + "\n" for line in lines)

    def added(self):
        """The added lines, without their '+'."""
        return [line[1:] for hunk in self.hunks for line in hunk.lines if line[0] == "+"]


class Parser:
    """A position in the lines of one file, and errors that name it."""

    def __init__(self, text, name, first=1):
        self.lines = text.split("\n")
        if self.lines[-1] == "":
            self.lines.pop()
        self.name = name
        self.first = first
        self.at = 0

    def peek(self):
        return self.lines[self.at] if self.at < len(self.lines) else None

    def take(self):
        line = self.peek()
        self.at += 1
        return line

    def fail(self, message, at=None):
        raise Failure(f"{self.name}:{self.first + (self.at if at is None else at)}: {message}")


def parse(text, name, first=1):
    """The FileDiffs in @text, by path. @name and @first (line number) are for error messages."""
    parser = Parser(text, name, first)
    diffs = {}
    while parser.peek() is not None:
        if parser.peek() == "":
            parser.fail("empty line between diffs; take it out")
        diff = parse_file(parser)
        if diff.path in diffs:
            raise Failure(f"{name}: {diff.path} is there twice; join its hunks under one header")
        diffs[diff.path] = diff
    return diffs


def parse_file(parser):
    match = re.fullmatch(rf"diff --git a/({PATH}) b/({PATH})", parser.peek())
    if not match or match[1] != match[2]:
        parser.fail(f"expected `diff --git a/PATH b/PATH`, not {parser.peek()!r}")
    path = match[1]
    if path.startswith("/") or ".." in path.split("/"):
        parser.fail(f"{path} leads out of the tree")
    parser.take()
    if re.match(r"index |similarity |old mode|new mode", parser.peek() or ""):
        parser.fail(f"{path}: take this line out; patches here have no index lines and change no modes")
    if re.match(r"new file|deleted file|rename |copy |GIT binary|Binary", parser.peek() or ""):
        parser.fail(f"{path}: only edits to existing text files are kept as diffs; put a new file at "
                    f"its path and name it in a `New:` line")
    for expected in (f"--- a/{path}", f"+++ b/{path}"):
        if parser.peek() != expected:
            parser.fail(f"{path}: expected `{expected}`, not {parser.peek()!r}")
        parser.take()
    diff = FileDiff(path)
    moved, end = 0, 0
    while (parser.peek() or "").startswith("@"):
        header, number = parser.at, len(diff.hunks) + 1
        hunk = parse_hunk(parser, path, number)
        # A count of 0 names the line before, by convention.
        start = hunk.old_start + (hunk.old_count == 0)
        if start < end:
            parser.fail(f"{path}, hunk {number} overlaps the one before or is out of order", header)
        if hunk.new_start + (hunk.new_count == 0) != start + moved:
            parser.fail(f"{path}, hunk {number}: +{hunk.new_start} should be "
                        f"+{start + moved - (hunk.new_count == 0)}, by the hunks before it", header)
        end = start + hunk.old_count
        moved += hunk.new_count - hunk.old_count
        diff.hunks.append(hunk)
    if not diff.hunks:
        parser.fail(f"{path}: a diff without a hunk")
    if parser.peek() is not None and not parser.peek().startswith("diff --git "):
        parser.fail(f"{path}: {parser.peek()!r} is beyond the {len(diff.hunks)}. hunk's counts "
                    f"({diff.hunks[-1].header}); correct the counts or the line")
    return diff


def parse_hunk(parser, path, number):
    match = HUNK.fullmatch(parser.peek())
    if not match:
        parser.fail(f"{path}, hunk {number}: malformed {parser.peek()!r}")
    count = [1 if text is None else int(text) for text in (match[2], match[4])]
    hunk = Hunk(int(match[1]), count[0], int(match[3]), count[1], match[5], [])
    parser.take()
    old, new = count
    while old > 0 or new > 0:
        line = parser.peek()
        if line is None or line[:1] not in (" ", "+", "-", "\\") or line == "":
            parser.fail(f"{path}, hunk {number} ({hunk.header}): {old} old and {new} new lines short"
                        + ("; the file ends here" if line is None else
                           "; an empty context line is a single space" if line == "" else
                           f", at {line!r}; correct the counts or the line"))
        if line[0] == "\\":
            if line != NO_NEWLINE or not hunk.lines:
                parser.fail(f"{path}, hunk {number}: unknown line {line!r}")
        else:
            old -= line[0] in " -"
            new -= line[0] in " +"
        if old < 0 or new < 0:
            parser.fail(f"{path}, hunk {number} ({hunk.header}): more lines than its counts say")
        if line.endswith("\r"):
            parser.fail(f"{path}, hunk {number}: a carriage return, which mail does not carry")
        hunk.lines.append(parser.take())
    if parser.peek() == NO_NEWLINE:
        hunk.lines.append(parser.take())
    return hunk


class Mismatch(Exception):
    """A hunk does not match at exactly its line; args: hunk number, line number."""


def apply(diff, text):
    """@text with @diff applied, each hunk at its line; raises Mismatch."""
    lines = split(text)
    out, done = [], 0
    for number, hunk in enumerate(diff.hunks, 1):
        old = hunk.side("-")
        start = hunk.old_start - 1 + (hunk.old_count == 0)
        if start < done or lines[start:start + len(old)] != old:
            raise Mismatch(number, hunk.old_start)
        out += lines[done:start] + hunk.side("+")
        done = start + len(old)
    return "".join(out + lines[done:])


def move(diff, starts):
    """@diff with the old starts of its hunks at @starts; the new starts follow from the preceding hunks."""
    hunks, moved = [], 0
    for hunk, start in zip(diff.hunks, starts, strict=True):
        new = start + (hunk.old_count == 0) + moved - (hunk.new_count == 0)
        hunks.append(replace(hunk, old_start=start, new_start=new))
        moved += hunk.new_count - hunk.old_count
    return replace(diff, hunks=hunks)


def overlap(diff):
    """The number of the first hunk that begins before the preceding one ends, or 0."""
    end = 0
    for number, hunk in enumerate(diff.hunks, 1):
        start = hunk.old_start + (hunk.old_count == 0)
        if start < end:
            return number
        end = start + hunk.old_count
    return 0


def land(diff, text):
    """@text as git apply changes it by @diff: (text, old start of each hunk), or None if a hunk matches nowhere.

    git tries the line that the hunk names, and then lines at increasing distance from it. A hunk for line 1 only matches
    at the beginning, a hunk without context at its end only at the end, and no line is changed twice.
    """
    lines = [(line, False) for line in split(text)]     # and whether a hunk changed it
    found = []
    for hunk in diff.hunks:
        old, new = hunk.side("-"), hunk.side("+")
        expected = max(hunk.new_start - 1, 0)
        last = len(lines) - len(old)
        places = range(1) if hunk.old_start <= 1 else outwards(expected, last)
        if next(line for line in reversed(hunk.lines) if line != NO_NEWLINE)[0] != " ":
            places = [at for at in (0, last) if at == last and (at == 0 or hunk.old_start > 1)]
        at = next((at for at in places if 0 <= at <= last
                   and all(line == wanted and not taken for wanted, (line, taken) in zip(old, lines[at:at + len(old)]))), None)
        if at is None:
            return None
        moved = sum(shift for place, shift, _ in found if place < at)
        found = [(place + (len(new) - len(old) if place > at else 0), shift, start) for place, shift, start in found]
        found.append((at, len(new) - len(old), at + 1 - moved - (hunk.old_count == 0)))
        lines[at:at + len(old)] = [(line, True) for line in new]
    return "".join(line for line, _ in lines), [start for _, _, start in found]


def outwards(start, last):
    """The numbers from 0 to @last in order of their distance from @start, the larger of two first."""
    start = min(start, max(last, 0))
    for distance in range(max(start, last - start) + 1):
        if start + distance <= last:
            yield start + distance
        if 0 < distance <= start:
            yield start - distance


def widen(hunk, text, number):
    """@hunk, which is at its line of @text, with up to @number more lines of context on each side."""
    lines = split(text)
    first, end = hunk.old_start - 1, hunk.old_start - 1 + hunk.old_count
    before, after = lines[max(first - number, 0):first], lines[end:end + number]
    return Hunk(hunk.old_start - len(before), hunk.old_count + len(before) + len(after),
                hunk.new_start - len(before), hunk.new_count + len(before) + len(after), hunk.section,
                [*(" " + line.rstrip("\n") for line in before), *hunk.lines, *(" " + line.rstrip("\n") for line in after)])


def split(text):
    """Lines with their newline. Not splitlines(), which also splits at form feeds and the like."""
    lines = re.split(r"(?<=\n)", text)
    return lines[:-1] if lines[-1] == "" else lines


def creation(path, text, executable=False):
    """The diff that creates @path with @text."""
    lines = ["+" + line.rstrip("\n") for line in split(text)]
    return FileDiff(path, [Hunk(0, 0, 1, len(lines), "", lines)],
                    new_mode="100755" if executable else "100644")
