# SPDX-License-Identifier: GPL-2.0
"""The README's table, made from the series."""

import re
from dataclasses import replace

import pytest

from base.steps import Failure
from weave import table, verify

SERIES = """\
# the toy series
topic base: the toggle
Kconfig.patch                          all    no

topic fixes: what was wrong
drivers/dma-buf/a-fix.patch            all    v6.3
drivers/dma-buf/old-only.patch         5.10   v5.15

topic new-things needs base fixes: what is new
drivers/dma-buf/new.patch              all    no
drivers/dma-buf/tests.patch            all    no       control
MAINTAINERS.patch                      all    no
"""
README = f"# Toy\n\n{table.BEGIN}\n{table.END}\n\nMore.\n"
DASH = "\N{EN DASH}"


@pytest.fixture
def listed(toy):
    toy.write("series", SERIES)
    toy.write("README.md", README)
    return toy


def test_rows_and_cells(listed):
    assert table.table(listed.queue).splitlines() == [
        "| topic | what it is | 5.10 | 6.1 |",
        "| --- | --- | --- | --- |",
        "| `base` | the toggle | 1 | 1 |",
        "| `fixes` | what was wrong | 2 | v5.15 + 1 |",
        "| `new-things` | what is new (needs base, fixes) | 3 | 3 |",
        "|  | tested with Debian's | 5.10.9-1 | 6.1.7-1 |"]


def test_what_upstream_has_only_later_is_not_there(listed):
    listed.edit("series", "a-fix.patch            all    v6.3", "a-fix.patch            5.10   v6.3")
    listed.edit("series", "drivers/dma-buf/old-only.patch         5.10   v5.15\n", "")
    assert f"| `fixes` | what was wrong | 1 | {DASH} |\n" in table.table(listed.queue)


def test_several_releases_and_nothing_of_ours(listed):
    for path, upstream in (("drivers/dma-buf/a-fix.patch", "v6.0"), ("drivers/dma-buf/old-only.patch", "v5.15")):
        listed.write(path, re.sub("Upstream: v[0-9.]+", f"Upstream: {upstream}", listed.read(path)))
    listed.edit("series", "a-fix.patch            all    v6.3", "a-fix.patch            5.10   v6.0")
    assert f"| 2 | v5.15{DASH}v6.0 |\n" in table.table(listed.queue)


def test_the_topics_are_shown(listed, capsys):
    table.show(listed.queue)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "base: the toggle", "5.10: 1 patches, +3 -0 6.1: 1 patches, +3 -0",
        "fixes: what was wrong", "5.10: 2 patches, +3 -3 6.1: 1 patches, +2 -2",
        "new-things: what is new (needs base fixes)", "5.10: 3 patches, +33 -2 6.1: 3 patches, +33 -2"]


def test_the_topics_of_a_selection(listed, capsys):
    listed.queue = replace(listed.queue, features=("fixes",))
    table.show(listed.queue)
    # Nothing here has an option: base has no patch.
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == ["fixes"]


def test_the_table_is_written_once_and_checked(listed):
    assert "run `make table`" in verify.problems(listed.queue)[0]
    table.main(listed.queue)
    text = listed.read("README.md")
    assert text.startswith("# Toy\n\n") and text.endswith(f"{table.END}\n\nMore.\n") and "| `fixes` |" in text
    assert verify.problems(listed.queue) == []
    table.main(listed.queue)
    assert listed.read("README.md") == text
    listed.edit("series", "what was wrong", "repairs")
    assert table.stale(listed.queue)


def test_a_readme_without_a_place(listed):
    listed.write("README.md", "# Toy\n")
    with pytest.raises(Failure, match="no place for the table; put it between"):
        table.main(listed.queue)


