# SPDX-License-Identifier: GPL-2.0
"""The kernel's page of fence exporters against a woven tree: each struct dma_fence_ops has a row, each row its structure.

A row's first cell has the structures and their file below drivers/, its second cell the kernels that it is for. The search
finds C definitions with name and `=` on one line, as all are in the four trees; the other columns are for human readers.
"""

import re

from base import steps

PAGE = "Documentation/driver-api/dma-fence-exporters.rst"
ROW = re.compile(r"^   \* - ((?:``\w+``,?\s+)+)(\S+\.c)\n     - (.+)$", re.MULTILINE)
DEFINITION = re.compile(r"^([^:\n]+):.*struct dma_fence_ops (\w+) =", re.MULTILINE)
TEST = re.compile(r"/(tests|selftests)/|/st-[^/]*$|-(test|mock)\.[ch]$")


def rows(text):
    """(file, structure, kernels) of each structure in each row of the page @text."""
    return [(f"drivers/{path}", name, kernels.split(", ")) for names, path, kernels in ROW.findall(text)
            for name in re.findall(r"\w+", names)]


def defined(tree):
    """{(file, structure)} of what @tree defines outside of tests."""
    lines = steps.attempt(["git", "-C", tree, "grep", "-F", "struct dma_fence_ops ", "--", "*.c", "*.h"])[1]
    return {(path, name) for path, name in DEFINITION.findall(lines) if not TEST.search(path)}


def problems(text, there, kernel, kernels):
    """What is wrong with the page @text about @kernel, one of @kernels, in which @there is defined()."""
    every = rows(text)
    listed = [(path, name) for path, name, words in every if words == ["all"] or kernel in words]
    found = [(path, f"there is no row for {name} on {kernel}") for path, name in there - set(listed)]
    found += [(path, f"{kernel} has no {name} there") for path, name in set(listed) - there]
    found += [(path, f"there are two rows for {name} on {kernel}") for path, name in set(listed) if listed.count((path, name)) > 1]
    found += [(path, f"the row of {name} is for {word!r}, which is none of {' '.join(kernels)}") for path, name, words in every
              for word in words if words != ["all"] and word not in kernels]
    return [f"{PAGE}: {path}: {what}" for path, what in sorted(found)]
