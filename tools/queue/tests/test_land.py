# SPDX-License-Identifier: GPL-2.0
"""Where git applies a hunk, and that land() finds the same place."""

import random
import re
from difflib import SequenceMatcher
from types import SimpleNamespace

import pytest

from base import gitcmd
from weave import udiff


def one(text):
    return udiff.parse("diff --git a/x b/x\n--- a/x\n+++ b/x\n" + text, "t")["x"]


def numbered(last):
    return "".join(f"{n}\n" for n in range(1, last + 1))


CASES = [
    ("@@ -3,3 +3,3 @@\n 3\n-4\n+x\n 5\n", numbered(9), [3]),
    ("@@ -2,3 +2,3 @@\n 3\n-4\n+x\n 5\n", numbered(9), [3]),
    ("@@ -90,3 +90,3 @@\n 3\n-4\n+x\n 5\n", numbered(9), [3]),
    ("@@ -1,3 +1,3 @@\n 3\n-4\n+x\n 5\n", numbered(9), None),           # line 1: only at the beginning
    ("@@ -1,3 +1,3 @@\n 1\n-2\n+x\n 3\n", numbered(9), [1]),
    ("@@ -2,3 +2,3 @@\n 1\n-2\n+x\n 3\n", numbered(9), [1]),
    ("@@ -3,2 +3,2 @@\n 3\n-4\n+x\n", numbered(9), None),               # without context after it: only at the end
    ("@@ -3,2 +3,2 @@\n 3\n-4\n+x\n", numbered(4), [3]),
    ("@@ -2,2 +2,2 @@\n 3\n-4\n+x\n", numbered(4), [3]),
    ("@@ -1,2 +1,2 @@\n 3\n-4\n+x\n", numbered(4), None),
    ("@@ -3,2 +3,2 @@\n 3\n-4\n+x\n\\ No newline at end of file\n", numbered(9), None),
    ("@@ -3,2 +3,2 @@\n 3\n-4\n+x\n\\ No newline at end of file\n", numbered(4), [3]),
    ("@@ -4,0 +5 @@\n+x\n", numbered(4), [4]),
    ("@@ -4,3 +4,3 @@\n a\n-b\n+c\n a\n", "a\nb\na\n" * 3, [4]),
    ("@@ -5,3 +5,3 @@\n a\n-b\n+c\n a\n", "a\nb\na\n" * 3, [4]),
    ("@@ -6,3 +6,3 @@\n a\n-b\n+c\n a\n", "a\nb\na\n" * 3, [7]),        # 4 and 7: the nearer one
    ("@@ -3,3 +3,3 @@\n a\n-b\n+c\n a\n", "b\na\nb\na\nb\na\n", [4]),   # 2 and 4 are equally near: the later one
    # A hunk is expected at the offset of the preceding ones, and lines that a hunk has changed do not match again.
    ("@@ -2,3 +2,4 @@\n 2\n+x\n 3\n 4\n@@ -6,3 +7,3 @@\n 6\n-7\n+y\n 8\n", numbered(9), [2, 6]),
    ("@@ -2,3 +2,3 @@\n a\n-b\n+b2\n a\n@@ -5,3 +5,3 @@\n a\n-b\n+b2\n a\n", "x\na\nb\na\na\nb\na\n", [2, 5]),
    ("@@ -2,3 +2,3 @@\n a\n-b\n+b2\n a\n@@ -5,3 +5,3 @@\n a\n-b\n+b2\n a\n", "x\na\nb\na\nb\na\n", None),
    ("@@ -2,3 +2,3 @@\n 6\n-7\n+y\n 8\n@@ -6,3 +6,4 @@\n 2\n+x\n 3\n 4\n", numbered(9), [6, 2]),
    ("@@ -20,3 +20,4 @@\n 20\n+x\n 21\n 22\n@@ -30,3 +31,8 @@\n 2\n+a\n+a\n+a\n+a\n+a\n 3\n 4\n@@ -40,3 +46,3 @@\n 17\n-18\n+y\n 19\n",
     numbered(60), [20, 2, 17]),
]


@pytest.mark.parametrize("hunk, text, starts", CASES)
def test_the_place(hunk, text, starts):
    landed = udiff.land(one(hunk), text)
    assert (landed and landed[1]) == starts


def texts(generator):
    """A file with few distinct lines, the same with edits, and one in which the blocks are elsewhere."""
    words = "abcd"[:generator.randint(1, 4)]
    old = [generator.choice(words) + "\n" for _ in range(generator.randint(1, 25))]
    new = list(old)
    for _ in range(generator.randint(1, 4)):
        at = generator.randint(0, len(new))
        new[at:at + generator.choice((0, 0, 1, 2))] = [generator.choice(words + "xy") + "\n" for _ in range(generator.choice((0, 1, 1, 2)))]
    other = list(old)
    for _ in range(generator.choice((0, 1, 1, 2))):
        at, where = generator.randint(0, len(other)), generator.randint(0, len(other))
        block = other[at:at + generator.randint(1, 8)]
        if generator.random() < 0.4:
            del other[at:at + len(block)]
        other[where:where] = block if generator.random() < 0.7 else [generator.choice(words) + "\n"]
    return old, new, other


def hunks_of(old, new, context):
    """The diff of two lists of lines, by difflib, with that much context."""
    found = []
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(context):
        lines = []
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                lines += [" " + line.rstrip("\n") for line in old[i1:i2]]
            else:
                lines += ["-" + line.rstrip("\n") for line in old[i1:i2]] + ["+" + line.rstrip("\n") for line in new[j1:j2]]
        first, last = group[0], group[-1]
        counts = last[2] - first[1], last[4] - first[3]
        found.append(udiff.Hunk(first[1] + (counts[0] > 0), counts[0], first[3] + (counts[1] > 0), counts[1], "", lines))
    return udiff.FileDiff("x", found)


@pytest.fixture
def git_apply(tmp_path):
    """Function: the result of git for each (diff, text); None if it refuses."""
    # Outside of a repository git apply works on files.
    git = gitcmd.own(tmp_path, SimpleNamespace(identity="The Toy <toy@example.org>"))

    def made(cases):
        for at, (_, text) in enumerate(cases):
            (tmp_path / str(at)).write_text(text)
        patch = "".join(str(udiff.FileDiff(str(at), diff.hunks)) for at, (diff, _) in enumerate(cases))
        # --reject continues with the next file, so that one call is enough for all.
        _, _, stderr = git.attempt("apply", "--reject", "--whitespace=nowarn", "-", input=patch)
        refused = set(re.findall(r"^error: patch failed: (\d+):", stderr, re.MULTILINE))
        return [None if str(at) in refused else (tmp_path / str(at)).read_text() for at in range(len(cases))]
    return made


def test_these_places_are_git_s(git_apply):
    cases = [(one(hunk), text) for hunk, text, _ in CASES]
    assert git_apply(cases) == [landed and landed[0] for landed in (udiff.land(*case) for case in cases)]


@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_git(git_apply, seed):
    generator, cases = random.Random(seed), []
    while len(cases) < 200:
        old, new, other = texts(generator)
        if old == new or not new or not other:
            continue
        diff = hunks_of(old, new, generator.choice((1, 2, 3, 3)))
        if generator.random() < 0.5:
            # As after inheritance: the line numbers of the hunks are another kernel's.
            shift, end, places = generator.randint(-6, 6), 1, []
            for hunk in diff.hunks:
                places.append(max(hunk.old_start + shift, end, 1 if hunk.old_start <= 1 else 2) if hunk.old_count else hunk.old_start)
                end = places[-1] + hunk.old_count
            diff = udiff.move(diff, places)
        text = "".join(other)
        if generator.random() < 0.1 and not any(line[1:] == other[-1].rstrip("\n") for hunk in diff.hunks for line in hunk.lines[-1:]):
            text = text.rstrip("\n")
        cases.append((diff, text))
    applied = git_apply(cases)
    landed = [udiff.land(*case) for case in cases]
    for case, git, ours in zip(cases, applied, landed):
        assert (ours and ours[0]) == git, f"{case[0]}\n{case[1]!r}"
    # There are results of both kinds, and hunks that are not at their line.
    assert 20 < sum(git is None for git in applied) < 180
    assert sum(bool(ours) and ours[1] != [hunk.old_start for hunk in case[0].hunks] for case, ours in zip(cases, landed)) > 20
    # The line numbers from land() are right: there the diff applies without a search.
    for (diff, text), ours in zip(cases, landed):
        if ours and ours[1] == sorted(ours[1]):
            assert udiff.apply(udiff.move(diff, ours[1]), text) == ours[0]
