# SPDX-License-Identifier: GPL-2.0
"""How an older kernel's hunks follow from the newer kernel's: recipes, and where the hunks are expected."""

import random

import pytest

from weave import inherit, udiff
from weave.inherit import OWN


def hunk(start, name, length=7):
    """A hunk of @length lines at line @start that changes one, its name, and has context around it."""
    before = (length - 1) // 2
    lines = [f" {name}{n}" for n in range(before)] + [f"-{name}", f"+{name}!"] + [f" {name}{n}" for n in range(before, length - 1)]
    return udiff.Hunk(start, length, start, length, "", lines)


def diff(*places):
    """A diff of hunks, each given as (line, name) or (line, name, length)."""
    found = udiff.FileDiff("x", [hunk(*place) for place in places])
    return udiff.move(found, [one.old_start for one in found.hunks])


def names(made):
    return "".join(next(line[1:] for line in one.lines if line[0] == "-") for one in made.hunks)


def starts(made):
    return [one.old_start for one in made.hunks]


PARENT = diff((10, "a"), (30, "b"), (50, "c"), (70, "d"))


@pytest.mark.parametrize("recipe, own, result, places", [
    ([1, 2, 3, 4], [], "abcd", [10, 30, 50, 70]),
    ([1, OWN, 3, 4], [(34, "B")], "aBcd", [14, 34, 54, 74]),        # replaced: the others move with that one
    ([1, 3, 4], [], "acd", [10, 50, 70]),                           # dropped
    ([1, OWN, 2, 3, 4], [(22, "n")], "anbcd", [10, 22, 30, 50, 70]),      # inserted: does not affect the others
    ([OWN, 2, 3, 4], [(5, "A")], "Abcd", [5, 25, 45, 65]),
    ([1, 2, 3, OWN], [(80, "D")], "abcD", [20, 40, 60, 80]),
    ([OWN, 1, 2, 3, 4, OWN], [(1, "m"), (90, "n")], "mabcdn", [1, 10, 30, 50, 70, 90]),
    ([1, OWN, OWN, OWN, 4], [(33, "B"), (43, "m"), (53, "C")], "aBmCd", [13, 33, 43, 53, 73]),      # the first replaces
    ([OWN, 2, 3, OWN], [(8, "A"), (75, "D")], "AbcD", [8, 28, 55, 75]),   # each moves with the nearest
    ([OWN], [(34, "n")], "n", [34]),
])
def test_composed(recipe, own, result, places):
    made = inherit.compose(PARENT, recipe, diff(*own).hunks)
    assert (names(made), starts(made)) == (result, places)
    assert udiff.overlap(made) == 0 and udiff.parse(str(made), "t")["x"] == made


def test_the_parent_stays_as_it_was():
    before = str(PARENT)
    inherit.compose(PARENT, [1, OWN, 4], diff((33, "B")).hunks)
    assert str(PARENT) == before


@pytest.mark.parametrize("recipe, own, places", [
    ([1, OWN, 3, 4], [(60, "B")], [40, 60, 80, 100]),
    ([1, OWN, 2, 3], [(32, "n")], [10, 32, 39, 50]),                # the following one moves
    ([1, OWN, 2, 3], [(14, "n")], [7, 14, 30, 50]),                 # the preceding one moves
    ([1, 2, OWN], [(31, "n")], [2, 11, 31]),                        # as far up as the replaced one, but not to line 1
    ([1, 2, 3, OWN], [(40, "n")], [2, 9, 20, 40]),
])
def test_order_is_kept_without_overlap(recipe, own, places):
    made = inherit.compose(PARENT, recipe, diff(*own).hunks)
    assert starts(made) == places and udiff.overlap(made) == 0


def test_line_1_is_for_a_hunk_that_was_there():
    """git only applies a hunk for line 1 at the beginning of the file."""
    parent = diff((1, "a"), (30, "b"), (50, "c"))
    assert starts(inherit.compose(parent, [1, OWN, 3], diff((10, "B")).hunks)) == [1, 10, 30]
    parent = diff((3, "a"), (30, "b"), (50, "c"))
    assert starts(inherit.compose(parent, [1, OWN, 3], diff((20, "B")).hunks)) == [2, 20, 40]
    assert starts(inherit.compose(parent, [1, 2], [])) == [3, 30]


@pytest.mark.parametrize("wanted, recipe, own", [
    ([(10, "a"), (30, "b"), (50, "c"), (70, "d")], [1, 2, 3, 4], ""),
    ([(11, "a"), (31, "b"), (51, "c"), (71, "d")], [1, 2, 3, 4], ""),     # line numbers do not matter
    ([(10, "a"), (30, "B"), (50, "c"), (70, "d")], [1, OWN, 3, 4], "B"),
    ([(10, "a"), (50, "c"), (70, "d")], [1, 3, 4], ""),
    ([(10, "a"), (20, "n"), (30, "b"), (50, "c"), (70, "d")], [1, OWN, 2, 3, 4], "n"),
    ([(10, "A"), (30, "b"), (50, "c"), (70, "D")], [OWN, 2, 3, OWN], "AD"),
    ([(30, "b"), (50, "c")], [2, 3], ""),
    ([(10, "a"), (30, "l"), (40, "m"), (50, "n"), (70, "d")], [1, OWN, OWN, OWN, 4], "lmn"),
    ([(10, "l"), (20, "m")], [OWN, OWN], "lm"),
])
def test_the_difference(wanted, recipe, own):
    found, brought = inherit.differ(PARENT, diff(*wanted))
    assert found == recipe and names(udiff.FileDiff("x", brought)) == own


def test_what_differs_makes_the_wanted_hunks_again():
    generator = random.Random(1)

    def some():
        places = sorted(generator.sample(range(1, 30), generator.randint(1, 8)))
        return diff(*((8 * place, generator.choice("abcdefgh")) for place in places))

    kept = 0
    for _ in range(500):
        parent, wanted = some(), some()
        recipe, own = inherit.differ(parent, wanted)
        made = inherit.compose(parent, recipe, own)
        assert [one.lines for one in made.hunks] == [one.lines for one in wanted.hunks]
        assert inherit.recipe_of(inherit.numbers(recipe)) == recipe
        assert len(own) == recipe.count(OWN)
        # As many hunks of the parent are kept as their order allows; if the hunks are the same, all.
        assert inherit.differ(wanted, wanted) == ([*range(1, len(wanted.hunks) + 1)], [])
        kept += sum(number != OWN for number in recipe)
    assert kept > 500


@pytest.mark.parametrize("new, recipe, followed", [
    ([(12, "a"), (30, "b"), (55, "c"), (70, "d")], [1, OWN, 3], [1, OWN, 3]),     # line numbers do not matter
    ([(10, "a"), (30, "b"), (50, "C"), (70, "d")], [1, OWN, 3], [1, OWN, 3]),     # edited, and kept
    ([(10, "a"), (30, "b"), (50, "c"), (70, "D")], [1, OWN, 3], [1, OWN, 3]),     # edited, and not kept
    ([(10, "a"), (30, "B"), (50, "c"), (70, "d")], [1, OWN, 3, 4], [1, OWN, 3, 4]),       # edited, and replaced
    ([(10, "a"), (20, "n"), (30, "b"), (50, "c"), (70, "d")], [1, OWN, 3, 4], [1, 2, OWN, 4, 5]),
    ([(10, "a"), (30, "b"), (40, "n"), (50, "c"), (70, "d")], [1, OWN, 3, 4], [1, OWN, 3, 4, 5]),
    ([(5, "n"), (10, "a"), (30, "b"), (50, "c"), (70, "d")], [OWN, 2, 3, 4], [1, OWN, 3, 4, 5]),
    ([(10, "a"), (30, "b"), (50, "c"), (70, "d"), (90, "n")], [1, 2, 3, OWN], [1, 2, 3, OWN, 5]),
    ([(10, "a"), (30, "b"), (50, "c"), (70, "d"), (90, "n")], [1, 2, 3, 4, OWN], [1, 2, 3, 4, OWN, 5]),
    ([(10, "a"), (50, "c"), (70, "d")], [1, OWN, 3, 4], [1, OWN, 2, 3]),  # the replaced hunk is gone
    ([(10, "a"), (50, "c"), (70, "d")], [1, 2, OWN, 4], [1, OWN, 3]),
    ([(30, "b"), (50, "c"), (70, "d")], [1, 2, 3], [1, 2]),
    ([(30, "b"), (50, "c"), (70, "d")], [1, OWN], [OWN]),
    ([(30, "b"), (50, "c"), (70, "d")], [1], []),
    ([(10, "A"), (30, "B"), (50, "c"), (70, "d")], [OWN, 2, 3, 4], [OWN, 2, 3, 4]),       # two edited, one of them replaced
    ([(10, "A"), (30, "B"), (50, "c"), (70, "d")], [1, 3, 4], [1, 3, 4]),
    ([(10, "a"), (28, "l"), (38, "m"), (50, "c"), (70, "d")], [1, 2, 4], [1, 2, 3, 5]),   # one hunk has become two
    ([(10, "a"), (28, "l"), (38, "m"), (50, "c"), (70, "d")], [1, 3, 4], [1, 4, 5]),
    ([(10, "a"), (30, "m"), (70, "d")], [1, 3, 4], [1, 2, 3]),            # two hunks have become one; one of the two was kept
    ([(30, "B"), (50, "c"), (70, "d")], [1, OWN, 3, 4], [1, OWN, 2, 3]),   # one less; of two equally different ones, one was kept
    ([(10, "a"), (30, "b"), (50, "c"), (70, "d")], [1, OWN, OWN, 4], [1, OWN, OWN, 4]),
    ([(10, "a"), (30, "b"), (40, "n"), (50, "c"), (70, "d")], [1, OWN, OWN, 4], [1, OWN, 3, OWN, 5]),
])
def test_a_recipe_follows(new, recipe, followed):
    assert inherit.follow(PARENT, diff(*new), recipe) == followed


@pytest.mark.parametrize("recipe, followed", [([1, OWN, 3, 4], [OWN, 2, 3]), ([OWN, 2, 3, 4], [OWN, 1, 2, 3]), ([2, 3, 4], [1, 2, 3])])
def test_a_hunk_takes_the_place_of_the_one_it_is_most_like(recipe, followed):
    """The first hunk is gone and the second one edited."""
    new = diff((30, "b"), (50, "c"), (70, "d"))
    new.hunks[0].lines.insert(4, "+more")
    assert inherit.follow(PARENT, new, recipe) == followed


@pytest.mark.parametrize("recipe, words", [
    ([1, 2, 3, OWN, 5], "1-3 + 5"), ([1], "1"), ([1, 2], "1-2"), ([OWN, OWN, 2, 4, 5], "+ + 2 4-5"), ([3, OWN], "3 +"), ([OWN], "+"),
    ([9, 10, 11], "9-11"),
])
def test_numbers(recipe, words):
    assert inherit.numbers(recipe) == words
    assert inherit.recipe_of(words) == recipe


@pytest.mark.parametrize("words", ["", "0", "0-2", "2 1", "1 1", "1-3 2", "3-1", "1-", "-1", "1-2-3", "a", "1,2", "++", "1 + 1"])
def test_what_is_no_recipe(words):
    assert inherit.recipe_of(words) is None


def test_a_recipe_with_blanks():
    assert inherit.recipe_of("  1-2   +  4 ") == [1, 2, OWN, 4]
