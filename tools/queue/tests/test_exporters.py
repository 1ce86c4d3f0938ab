# SPDX-License-Identifier: GPL-2.0
"""The page that lists the exporters of fences, and the trees that it describes."""

import subprocess

import pytest

from base import config
from suites import exporters, lint
from suites.results import FAIL, PASS, Results

PAGE = """\
.. list-table::

   * - Operations and file
     - Kernels
   * - ``sw_ops`` dma-buf/sw.c
     - all
     - constants
   * - ``hw_legacy_ops``, ``hw_ops``
       gpu/drm/hw/hw.c
     - 5.10
     - constants
   * - ``new_ops`` gpu/drm/new/new.c
     - 6.1, 6.12
"""
SOURCES = {
    "drivers/dma-buf/sw.c": "static const struct dma_fence_ops sw_ops;\n\nstatic const struct dma_fence_ops sw_ops = {\n};\n",
    "drivers/gpu/drm/hw/hw.c": "const struct dma_fence_ops hw_ops = {\n};\nstatic struct dma_fence_ops hw_legacy_ops = {\n};\n",
    "drivers/gpu/drm/hw/hw.h": "extern const struct dma_fence_ops hw_ops;\nvoid hw_init(const struct dma_fence_ops *ops);\n",
    # None of these is an exporter.
    "drivers/gpu/drm/hw/tests/hw_test.c": "static const struct dma_fence_ops ops = {\n};\n",
    "drivers/gpu/drm/i915/selftests/a.c": "static const struct dma_fence_ops ops = {\n};\n",
    "drivers/dma-buf/st-dma-fence.c": "static const struct dma_fence_ops mock_ops = {\n};\n",
    "drivers/dma-buf/dma-fence-mock.h": "static const struct dma_fence_ops mock_ops = {\n};\n",
    "drivers/dma-buf/dma-buf-sync-file-test.c": "static const struct dma_fence_ops mock_ops = {\n};\n",
}
SW, HW, LEGACY = ("drivers/dma-buf/sw.c", "sw_ops"), ("drivers/gpu/drm/hw/hw.c", "hw_ops"), ("drivers/gpu/drm/hw/hw.c", "hw_legacy_ops")
KERNELS = ["5.10", "6.1", "6.12"]


def fill(place):
    for path, text in SOURCES.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    for words in (["init", "-q"], ["add", "drivers"]):
        subprocess.run(["git", "-C", place, *words], check=True)


def test_what_a_tree_defines(tmp_path):
    fill(tmp_path)
    assert exporters.defined(tmp_path) == {SW, HW, LEGACY}


@pytest.mark.parametrize("kernel, there, found", [
    ("5.10", {SW, HW, LEGACY}, []),
    ("5.10", {SW, HW, LEGACY, ("drivers/x.c", "x_ops")}, ["drivers/x.c: there is no row for x_ops on 5.10"]),
    ("5.10", {SW, HW}, ["drivers/gpu/drm/hw/hw.c: 5.10 has no hw_legacy_ops there"]),
    # The same name in another file, and a row for other kernels only.
    ("6.1", {SW, ("drivers/new.c", "new_ops")}, ["drivers/gpu/drm/new/new.c: 6.1 has no new_ops there",
                                                 "drivers/new.c: there is no row for new_ops on 6.1"]),
    ("6.12", {SW, HW, ("drivers/gpu/drm/new/new.c", "new_ops")}, ["drivers/gpu/drm/hw/hw.c: there is no row for hw_ops on 6.12"]),
])
def test_what_is_wrong(kernel, there, found):
    assert exporters.problems(PAGE, there, kernel, KERNELS) == [f"{exporters.PAGE}: {line}" for line in found]


@pytest.mark.parametrize("old, new, found", [
    ("     - 6.1, 6.12\n", "     - 6.1, 6.13\n", "is for '6.13', which is none of 5.10 6.1 6.12"),
    ("     - 6.1, 6.12\n", "     - 6.1..6.12\n", "is for '6.1..6.12', which is none"),
    ("``hw_ops``", "``hw_legacy_ops``", "there are two rows for hw_legacy_ops on 5.10"),
])
def test_what_is_wrong_with_a_row(old, new, found):
    assert old in PAGE
    assert found in "\n".join(exporters.problems(PAGE.replace(old, new), {SW, HW, LEGACY}, "5.10", KERNELS))


def test_verdicts_of_lint(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(lint.config, "BUILD", tmp_path)
    monkeypatch.setattr(lint.config, "queue", lambda: toy.queue)
    monkeypatch.setattr(lint.source, "tools_tree", lambda: tmp_path)
    tree = toy.old.tree
    tree.mkdir(parents=True, exist_ok=True)
    fill(tree)

    def verdicts():
        it = lint.Lint(toy.old, Results())
        it.fence_exporters()
        return {result.test: result.verdict for result in it.results.all}

    assert verdicts() == {}     # without the topic that adds the page
    page = tree / exporters.PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PAGE.replace("6.12", "5.10").replace("6.1, 5.10", "6.1"))
    assert verdicts() == {"exporters.planted": PASS, "exporters": PASS}
    page.write_text(PAGE.replace("sw_ops", "su_ops"))
    assert verdicts() == {"exporters.planted": PASS, "exporters": FAIL}
    subprocess.run(["git", "-C", tree, "rm", "-q", "-r", "--cached", "drivers"], check=True)
    assert verdicts()["exporters.planted"] == FAIL      # a search that finds nothing is broken


def test_the_page_names_the_kernels_of_the_queue():
    """Every line that looks like a row is one, and is for kernels that the queue has."""
    text = (config.ROOT / exporters.PAGE).read_text(encoding="utf-8")
    names = {kernel.name for kernel in config.load().kernels}
    every = exporters.rows(text)
    assert len(every) > 50
    assert text.count("\n   * - ``") == len(exporters.ROW.findall(text))
    assert {word for _, _, words in every for word in words} == {"all", *names}
