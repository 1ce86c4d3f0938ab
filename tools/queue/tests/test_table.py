# SPDX-License-Identifier: GPL-2.0
"""The README's table, made from the series."""

import re

import pytest

from base.steps import Failure
from suites import commits, full
from weave import table, verify

SERIES = """\
# the toy series

# Toggle
# It comes first.
Kconfig.patch                          all    no

# Fixes
drivers/dma-buf/a-fix.patch            all    v6.3
drivers/dma-buf/old-only.patch         5.10   v5.15

# New things
drivers/dma-buf/new.patch              all    no
drivers/dma-buf/tests.patch            all    no       control

# Toggle
MAINTAINERS.patch                      all    no
"""
README = f"# Toy\n\n{table.BEGIN}\n{table.END}\n\nMore.\n"


@pytest.fixture
def listed(toy):
    toy.write("series", SERIES)
    toy.write("README.md", README)
    return toy


def test_rows_and_cells(listed):
    lines = table.table(listed.queue).splitlines()
    assert lines[:6] == [
        "|  | 5.10 | 6.1 |",
        "| --- | --- | --- |",
        "| Toggle | **queue**: 1 patch, documentation | **queue**: 1 patch, documentation |",
        "| Fixes | **queue**: 2 patches | upstream v5.15, **queue**: 1 patch |",
        "| New things | **queue**: 2 patches | **queue**: 2 patches |",
        "| tested with Debian's | 5.10.9-1 | 6.1.7-1 |"]
    assert "`control`" in lines[-1] and "arm64" in lines[-1]


def test_what_upstream_has_only_later_is_not_there(listed):
    listed.edit("series", "a-fix.patch            all    v6.3", "a-fix.patch            5.10   v6.3")
    listed.edit("series", "drivers/dma-buf/old-only.patch         5.10   v5.15\n", "")
    assert "| Fixes | **queue**: 1 patch | \N{EN DASH} |\n" in table.table(listed.queue)


def test_tests_alone_are_no_feature(listed):
    listed.edit("drivers/dma-buf/tests.patch", "New: drivers/dma-buf/test.c", "New: tools/testing/test.c")
    text = listed.read("drivers/dma-buf/tests.patch")
    listed.write("drivers/dma-buf/tests.patch", text[:text.index("diff --git")])
    listed.write("tools/testing/test.c", listed.read("drivers/dma-buf/test.c"))
    assert "| New things | **queue**: 1 patch, tests | **queue**: 1 patch, tests |\n" in table.table(listed.queue)


def test_the_table_is_written_once_and_checked(listed):
    assert "run `make table`" in verify.problems(listed.queue)[0]
    table.main(listed.queue)
    text = listed.read("README.md")
    assert text.startswith("# Toy\n\n") and text.endswith(f"{table.END}\n\nMore.\n") and "| Fixes |" in text
    assert verify.problems(listed.queue) == []
    table.main(listed.queue)
    assert listed.read("README.md") == text
    listed.edit("series", "# Fixes", "# Repairs")
    assert table.stale(listed.queue)


def test_a_readme_without_a_place(listed):
    listed.write("README.md", "# Toy\n")
    with pytest.raises(Failure, match="no place for the table; put it between"):
        table.main(listed.queue)


def test_a_patch_under_no_heading(listed):
    listed.write("series", SERIES.replace("# the toy series\n\n# Toggle\n# It comes first.\n", ""))
    with pytest.raises(Failure, match="Kconfig.patch is under no heading"):
        table.table(listed.queue)


def test_the_suites_in_words_are_those_that_there_are():
    said = re.findall(r"`(\w+)`", table.HOW)
    assert said == [suite for suite in full.SUITES if suite not in ("queue", "xen")] + ["xen"]
    assert f"`build` for {' and '.join(commits.CONFIGS)};" in table.HOW
