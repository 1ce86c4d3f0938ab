# SPDX-License-Identifier: GPL-2.0
"""The topics, as `make topics` and, in the README, `make table` show them; for TESTED.md see suites/tested.py.

A row of the README's table is a topic, linked to its page. A cell says what provides the topic on that kernel: the number
of the queue's patches, and the upstream releases, up to the kernel's own, that have what the other patches do.
"""

import re

from base.steps import Failure, say
from weave import mails, series

README = "README.md"
BEGIN = "<!-- made by `make table` from series and kernels.toml: edit those -->"
END = "<!-- end of what `make table` made -->"
PAGES = "Documentation/queue"       # one page for each topic, except for those that another topic's page describes:
SHARED = {"base": "changing", "lifetimes": "names", "exporters": "gntdev", "exchange": "gntdev"}


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
    """A message if the README's table is out of date, or ""."""
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
    rows = [["topic", "what it is", *(kernel.name for kernel in kernels)], ["---"] * (len(kernels) + 2)]
    for topic in series.topics(series.load(queue)).values():
        needs = f" (needs {', '.join(topic.needs)})" if topic.needs else ""
        rows.append([linked(queue, topic.name), topic.title + needs, *(cell(kernel, topic.entries) for kernel in kernels)])
    rows.append(["", "tested with Debian's", *(kernel.version for kernel in kernels)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def linked(queue, name):
    """The topic's name, as a link to its page if there is one."""
    page = f"{PAGES}/{SHARED.get(name, name)}.md"
    return f"[`{name}`]({page})" if (queue.root / page).is_file() else f"`{name}`"


def cell(kernel, entries):
    here = [entry for entry in entries if kernel.name in entry.kernels]
    releases = sorted({version(entry.upstream) for entry in entries
                       if entry not in here and (0, 0) < version(entry.upstream) <= version(kernel.name)})
    parts = []
    if releases:
        names = [f"v{major}.{minor}" for major, minor in releases]
        parts.append(names[0] if len(names) == 1 else f"{names[0]}\N{EN DASH}{names[-1]}")
    if here:
        parts.append(f"{len(here)}")
    return " + ".join(parts) or "\N{EN DASH}"


def show(queue):
    """`make topics`: each topic, its patches and their size for each kernel."""
    entries = series.load(queue)
    woven = {kernel.name: mails.woven(queue, kernel, entries=entries) for kernel in queue.kernels}
    for topic in series.topics(entries).values():
        paths = {entry.patch.path for entry in topic.entries}
        here = {name: [one for one in patches if one.patch.path in paths] for name, patches in woven.items()}
        if any(here.values()):
            needs = f" (needs {' '.join(topic.needs)})" if topic.needs else ""
            say(f"{topic.name + ':':<12} {topic.title}{needs}")
            say("             " + "   ".join(f"{name}: {len(patches)} patches, +{count(patches, '+')} -{count(patches, '-')}"
                                            for name, patches in here.items() if patches))


def count(patches, sign):
    """How many lines @patches add or remove."""
    return sum(line[0] == sign for one in patches for diff in one.edits.values() for hunk in diff.hunks for line in hunk.lines)


def version(text):
    """(6, 1) of "v6.1" or "6.1"; (0, 0) of "no"."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
