# SPDX-License-Identifier: GPL-2.0
"""How an older kernel's diff of a file follows from the next newer kernel's, hunk by hunk.

A recipe is the older kernel's hunks in order: the number of a hunk of the newer kernel that holds there, too, or OWN
for one that the variant brings. Two hunks are the same if their lines are: where they stand, git finds.
"""

import re
from difflib import SequenceMatcher

from weave import udiff
from weave.udiff import FileDiff

OWN = 0


def compose(parent, recipe, own):
    """The older kernel's FileDiff: of the @parent's hunks and the variant's @own, a list, as the @recipe says.

    Own hunks stand at their lines. The others are expected as far from where the parent has them as the nearest own
    hunk is from the one that it replaces.
    """
    rest = iter(own)
    hunks = [parent.hunks[number - 1] if number != OWN else next(rest) for number in recipe]
    known = shifts(parent, recipe, own)
    starts = []
    for at, number in enumerate(recipe):
        near = min(known, key=lambda place: abs(place - at), default=None)
        starts.append(hunks[at].old_start + (known[near] if number != OWN and near is not None else 0))
    diff = FileDiff(parent.path, hunks)
    return udiff.move(diff, in_order(hunks, starts, recipe))


def shifts(parent, recipe, own):
    """{place in the recipe of an own hunk that replaces one of the @parent's: how many lines lie between the two}."""
    found, rest, before = {}, iter(own), 0
    for at, number in enumerate(recipe):
        if number != OWN:
            before = number
            continue
        hunk = next(rest)
        after = next((n for n in recipe[at:] if n != OWN), len(parent.hunks) + 1)
        if before + 1 < after and (at == 0 or recipe[at - 1] != OWN):
            found[at] = hunk.old_start - parent.hunks[before].old_start
    return found


def in_order(hunks, starts, recipe):
    """@starts corrected so that hunks neither overlap nor change places; own ones stay. At 1 only a hunk that was there."""
    starts = list(starts)
    end = 1
    for at, hunk in enumerate(hunks):
        if recipe[at] != OWN:
            starts[at] = max(starts[at], end, 1 if hunk.old_start == 1 else 2)
        end = starts[at] + hunk.old_count
    after = None
    for at in range(len(hunks) - 1, -1, -1):
        if after is not None and recipe[at] != OWN:
            starts[at] = min(starts[at], after - hunks[at].old_count)
        after = starts[at]
    return starts


def differ(parent, wanted):
    """(recipe, own hunks) that make the FileDiff @wanted of @parent."""
    old, new = ([tuple(hunk.lines) for hunk in diff.hunks] for diff in (parent, wanted))
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {block.b + n: block.a + n + 1 for block in blocks for n in range(block.size)}
    recipe = [kept.get(at, OWN) for at in range(len(new))]
    return recipe, [hunk for hunk, number in zip(wanted.hunks, recipe) if number == OWN]


def follow(old, new, recipe):
    """The @recipe for the parent @old, for @new, which takes its place.

    A hunk that is new is kept; one that takes the place of another is kept if that was: where their numbers differ, of
    the one that it is most like.
    """
    changes = SequenceMatcher(None, [tuple(hunk.lines) for hunk in old.hunks], [tuple(hunk.lines) for hunk in new.hunks],
                              autojunk=False).get_opcodes()
    kept, after, keep = set(recipe) - {OWN}, {0: 0}, set()
    for _, first, end, new_first, new_end in changes:
        olds, news = range(first + 1, end + 1), range(new_first + 1, new_end + 1)
        # Which of the old ones each of the new ones takes the place of.
        like = list(olds) if len(olds) == len(news) else [
            max(olds, key=lambda n, hunk=new.hunks[number - 1]: (likeness(old.hunks[n - 1], hunk), n in kept), default=None)
            for number in news]
        keep.update(number for number, place in zip(news, like) if place is None or place in kept)
        after.update((number, new_first + sum(place <= number for place in like)) for number in olds)
    # An own hunk stands after what became of the one that it replaces, or else of the one before it.
    places, before = [], 0
    for at, number in enumerate(recipe):
        following = next((n for n in recipe[at:] if n != OWN), len(old.hunks) + 1)
        before = number or min(before + 1, following - 1)
        if number == OWN:
            places.append(after[before])
    found = []
    for number in range(len(new.hunks) + 1):
        found += ([number] if number in keep else []) + [OWN] * places.count(number)
    return found


def likeness(one, other):
    return SequenceMatcher(None, one.lines, other.lines, autojunk=False).ratio()


def numbers(recipe):
    """"1-3 + 5" of [1, 2, 3, OWN, 5]."""
    words, at = [], 0
    while at < len(recipe):
        end = at
        while end + 1 < len(recipe) and recipe[at] != OWN and recipe[end + 1] == recipe[end] + 1:
            end += 1
        words.append("+" if recipe[at] == OWN else str(recipe[at]) if end == at else f"{recipe[at]}-{recipe[end]}")
        at = end + 1
    return " ".join(words)


def recipe_of(words):
    """The list of numbers() again; None if @words is not its text."""
    recipe = []
    for word in words.split():
        match = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", word)
        if word == "+":
            recipe.append(OWN)
        elif match and int(match[1]) <= int(match[2] or match[1]):
            recipe += range(int(match[1]), int(match[2] or match[1]) + 1)
        else:
            return None
    kept = [number for number in recipe if number != OWN]
    return recipe if recipe and kept == sorted(set(kept)) else None
