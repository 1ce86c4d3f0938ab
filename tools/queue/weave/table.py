# SPDX-License-Identifier: GPL-2.0
"""`make table`: the README's table of features and kernels, made from `series`; of TESTED.md see suites/tested.py.

A row is a heading in series: a comment line after an empty one, for the patches down to the next
heading. A cell says where the feature comes from on that kernel: patches of the queue that are for
it, and upstream releases, up to the kernel's own, that have what the other patches have.
"""

import re

from base.steps import Failure, say
from weave import mails, series

README = "README.md"
BEGIN = "<!-- made by `make table` from series and kernels.toml: edit those -->"
END = "<!-- end of what `make table` made -->"
# The suites of `make check-full`, in words: what knows them needs QEMU. tests/test_table.py compares them.
HOW = ("Tested how, each kernel: `lint`; `build` for x86_64 and arm64; `kunit`, `kselftest`, `igt`, `stress`, `control` "
       "in QEMU on x86_64; `xen` on arm64.")
# Patches that bring tests and words, and no code that a user runs.
TESTS = re.compile(r"tools/testing/|scripts/|.*([-_]test|[-_]mock)\w*\.[ch]$")
WORDS = re.compile(r"Documentation/|MAINTAINERS$")
BUILD = re.compile(r".*/(Kconfig|Makefile|\.kunitconfig)$")


def main(queue):
    path = queue.root / README
    text = path.read_text(encoding="utf-8")
    new = replaced(text, table(queue))
    if new == text:
        say(f"{README}: the table is current")
    else:
        path.write_text(new, encoding="utf-8")
        say(f"{README}: wrote the table")


def stale(queue):
    """What is wrong with the README's table, or ""."""
    path = queue.root / README
    if not path.exists():
        return ""
    text = path.read_text(encoding="utf-8")
    return "" if replaced(text, table(queue)) == text else \
        f"{README}: the table is not that of series and kernels.toml; run `make table`"


def replaced(text, rows):
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Failure(f"{README} has no place for the table; put it between these lines:\n{BEGIN}\n{END}")
    return f"{head}{begin}\n{rows}{end}{tail}"


def table(queue):
    kernels = queue.kernels
    rows = [["", *(kernel.name for kernel in kernels)], ["---"] * (len(kernels) + 1)]
    for title, entries in sections(queue):
        rows.append([title, *(cell(queue, kernel, entries) for kernel in kernels)])
    rows.append(["tested with Debian's", *(kernel.version for kernel in kernels)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", HOW]) + "\n"


def sections(queue):
    """(heading, entries) in the order of series; a heading that comes again adds to its row."""
    by_path = {entry.patch.path: entry for entry in series.load(queue)}
    found, title, before = {}, "", ""
    for line in queue.series.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not before.strip():
            title = line.lstrip("# ").rstrip(".")
        words = line.partition("#")[0].split()
        if words:
            if not title:
                raise Failure(f"series: {words[0]} is under no heading; put a comment with the feature's name and an "
                              f"empty line above it")
            found.setdefault(title, []).append(by_path[words[0]])
        before = line
    return list(found.items())


def cell(queue, kernel, entries):
    here = [entry for entry in entries if kernel.name in entry.kernels]
    kinds = [kind(queue, kernel, entry.patch) for entry in here]
    number = kinds.count("code")
    parts = []
    releases = sorted({version(entry.upstream) for entry in entries
                       if entry not in here and (0, 0) < version(entry.upstream) <= version(kernel.name)})
    if releases:
        names = [f"v{major}.{minor}" for major, minor in releases]
        parts.append("upstream " + (names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"))
    if number:
        parts.append(f"**queue**: {number} patch{'es' if number > 1 else ''}")
    also = [word for word, one in (("tests", "tests"), ("documentation", "words")) if one in kinds]
    if also:
        parts.append(" and ".join(also) if number else f"queue: {' and '.join(also)}")
    return ", ".join(parts) or "\N{EN DASH}"


def version(text):
    """(6, 1) of "v6.1" or "6.1"; (0, 0) of "no"."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def kind(queue, kernel, patch):
    """"code", "tests" or "words": what @patch brings to @kernel."""
    paths = [path for path in mails.diffs(queue, kernel, patch) if not BUILD.match(path)]
    if paths and all(WORDS.match(path) for path in paths):
        return "words"
    return "tests" if paths and all(TESTS.match(path) or WORDS.match(path) for path in paths) else "code"
