# SPDX-License-Identifier: GPL-2.0
"""How an older kernel's diff of a file follows from the next newer kernel's, hunk by hunk.

A recipe lists the older kernel's hunks in order: the number of a hunk of the newer kernel that also applies there, or
OWN for a hunk of the variant. Two hunks are the same if their lines are the same: git finds their place.
"""

import re
from difflib import SequenceMatcher

from weave import udiff
from weave.udiff import FileDiff

OWN = 0


def compose(parent, recipe, own):
    """The older kernel's FileDiff, composed of hunks of @parent and the variant's list @own, as the @recipe says.

    Own hunks have exact line numbers. An inherited hunk is expected to be offset from its place in the parent by as much
    as the nearest own hunk is from the hunk that it replaces.
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
    """{index in the recipe of an own hunk that replaces a hunk of @parent: number of lines between the two}."""
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
    """@starts corrected so that hunks neither overlap nor swap; own hunks do not move. Only a hunk from line 1 may be at line 1."""
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
    """(recipe, own hunks) that turn @parent into the FileDiff @wanted."""
    old, new = ([tuple(hunk.lines) for hunk in diff.hunks] for diff in (parent, wanted))
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {block.b + n: block.a + n + 1 for block in blocks for n in range(block.size)}
    recipe = [kept.get(at, OWN) for at in range(len(new))]
    return recipe, [hunk for hunk, number in zip(wanted.hunks, recipe) if number == OWN]


def follow(old, new, recipe):
    """The @recipe, written for the parent @old, adapted to the parent @new.

    A new hunk is kept. A hunk that replaces another is kept if that one was; if the numbers of hunks differ, it replaces
    the hunk that it resembles most.
    """
    changes = SequenceMatcher(None, [tuple(hunk.lines) for hunk in old.hunks], [tuple(hunk.lines) for hunk in new.hunks],
                              autojunk=False).get_opcodes()
    kept, after, keep = set(recipe) - {OWN}, {0: 0}, set()
    for _, first, end, new_first, new_end in changes:
        olds, news = range(first + 1, end + 1), range(new_first + 1, new_end + 1)
        # Which old hunk each new one replaces.
        like = list(olds) if len(olds) == len(news) else [
            max(olds, key=lambda n, hunk=new.hunks[number - 1]: (likeness(old.hunks[n - 1], hunk), n in kept), default=None)
            for number in news]
        keep.update(number for number, place in zip(news, like) if place is None or place in kept)
        after.update((number, new_first + sum(place <= number for place in like)) for number in olds)
    # An own hunk follows what has become of the hunk that it replaces, or else of the hunk before it.
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
    """The reverse of numbers(): the list; None if @words is no text of this form."""
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
