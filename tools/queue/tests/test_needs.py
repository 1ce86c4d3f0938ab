# SPDX-License-Identifier: GPL-2.0
"""What a patch needs: the names that it uses, and its `Needs:` lines."""

import pytest

from base import config
from base.steps import Failure
from weave import mails, needs, series

MAIL = """\
Subject: dma-buf: {name}

It is there.

Upstream: no, it is a toy{more}
---
"""


def mail(name, path, old, new, more=""):
    lines = [f" {line}" for line in old.split("\n")] + [f"+{line}" for line in new.split("\n")]
    return (MAIL.format(name=name, more=more) + f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
            + f"@@ -1,{old.count(chr(10)) + 1} +1,{len(lines)} @@\n" + "\n".join(lines) + "\n")


@pytest.fixture
def graph(toy):
    """Function: the needs of patches a, b, c..., given their mails."""
    def made(*mails):
        names = "abcdef"[:len(mails)]
        toy.write("series", "topic all: of it\n" + "".join(f"{name}.patch 5.10 no\n" for name in names))
        for name, text in zip(names, mails):
            toy.write(f"{name}.patch", text)
        found = needs.of(toy.woven(toy.old))
        return {path[0]: "".join(sorted(need[0] for need in needed)) for path, needed in found.items()}
    return made


@pytest.mark.parametrize("path, brings, uses", [
    ("x.h", "int first(int a);", "\treturn first(1);"),
    ("x.h", "#define FIRST 1", "\treturn FIRST;"),
    ("x.h", "struct first {", "\tstruct first a;"),
    ("x.c", "int first(void)", "\treturn first();"),
    ("Kconfig", "config FIRST", "#ifdef CONFIG_FIRST"),
])
def test_a_name(graph, path, brings, uses):
    assert graph(mail("a", path, "old", brings), mail("b", "y.c", "other", uses),
                 mail("c", "z.c", "other", "\tunrelated();")) == {"a": "", "b": "a", "c": ""}


def test_what_is_no_use(graph):
    a = mail("a", "x.c", "old", "int first(void)")
    assert graph(a, mail("b", "y.c", "other", "\t/* like first() */"), mail("c", "y.rst", "other", "first()"),
                 mail("d", "y.c", "other", "int first(void)"))["d"] == ""
    assert graph(a, mail("b", "y.c", "other", "\t * as first() does"))["b"] == ""


def test_what_brings_nothing(graph):
    # It existed before, or is confined to another file.
    assert graph(mail("a", "x.c", "int first(int a)", "int first(int b)"), mail("b", "y.c", "other", "\tfirst();"))["b"] == ""
    static = mail("a", "x.c", "old", "static int first(void)")
    assert graph(static, mail("b", "y.c", "other", "\tfirst();"), mail("c", "x.c", "int x;", "\tfirst();")) == {
        "a": "", "b": "", "c": "a"}


def test_what_a_patch_says(toy, graph):
    assert graph(mail("a", "x.c", "old", "int a;"), mail("b", "y.c", "other", "int b;", "\nNeeds: a.patch")) == {"a": "", "b": "a"}
    toy.edit("b.patch", "Needs: a.patch", "Needs: c.patch")
    with pytest.raises(Failure, match="b.patch: `Needs: c.patch`, which is no patch before it"):
        series.load(toy.queue)


def test_the_queue_itself():
    queue = config.queue()
    found = needs.of(mails.woven(queue, queue.kernels[0]))
    gntdev = found["drivers/xen/gntdev-dmabuf-map.patch"]
    assert {"drivers/dma-buf/dma-buf-release.patch", "drivers/xen/grant-table-held.patch"} <= gntdev
    assert "drivers/dma-buf/dma-buf-poll.patch" in found["drivers/dma-buf/dma-buf-sync-file.patch"]
    # Nothing else needs a driver's fix: if its hunk fails, only that patch is left out.
    assert not any("drivers/gpu/drm/msm/msm-ring-names.patch" in needed for needed in found.values())
