# SPDX-License-Identifier: GPL-2.0
"""`make table`: TESTED.md, made from the results of `make check-full` on this machine.

A row is a suite: when it last passed completely, and on what. Rows of suites that were not run here stay unchanged.
"""

from base.steps import say
from suites import full, pace

TESTED = "TESTED.md"


def main(queue):
    path = queue.root / TESTED
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    new = tested(queue, text)
    if new != text:
        path.write_text(new, encoding="utf-8")
        say(f"{TESTED}: wrote the table")
    if pace.keep():
        say(f"{pace.KEPT}: updated from the checks that were run here")


def cells_of(queue, text):
    """{(suite, kernel's name): cell} of the table in @text."""
    known = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == len(queue.kernels) + 1:
            known.update({(cells[0].strip("`"), kernel.name): cell for kernel, cell in zip(queue.kernels, cells[1:])})
    return known


def tested(queue, text):
    """The new text of TESTED.md, given its present @text."""
    known, rows = cells_of(queue, text), []
    for suite in full.SUITES:
        cells = []
        for kernel in queue.kernels:
            part = full.load(full.part_file(kernel, suite))
            weaver = full.load(full.part_file(full.WEAVER, suite))
            if part and (suite != "queue" or weaver):
                results = part["results"] + (weaver["results"] if suite == "queue" else [])
                skipped = sum(result["verdict"] == "SKIP" for result in results)
                cells.append(f"{part['date']}: {len(results) - skipped} passed{f', {skipped} skipped' if skipped else ''}, "
                             f"{part['source']}, {part['commit']}")
            else:
                cells.append(known.get((suite, kernel.name)) or "never")
        rows.append(f"| `{suite}` | {' | '.join(cells)} |")
    names = " | ".join(kernel.name for kernel in queue.kernels)
    return "\n".join([
        "<!-- SPDX-License-Identifier: GPL-2.0 -->", "<!-- made by `make table` from what `make check-full` left in build/full -->",
        "# When all of it was last green", "",
        "Each cell: the day on which `make check-full` passed that suite on that kernel, how many tests, the source, and the commit",
        "of this repository. A skip is one that [skips.toml](tools/queue/skips.toml) explains. `make check` is run at each change.", "",
        f"| suite | {names} |", f"|---|{'---|' * len(queue.kernels)}", *rows, ""])
