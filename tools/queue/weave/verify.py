# SPDX-License-Identifier: GPL-2.0
"""Checks the queue's own rules, without a kernel: every file for a kernel is in the series exactly
once, headers are complete, and every kernel can be woven.
"""

import re

from base.config import SHIPPED
from base.steps import Failure, say
from weave import blobs, mails, needs, patchfile, series, table

SUBJECT_MAX = 75
VERSION_CHECKS = re.compile(r"\b(LINUX_VERSION_CODE|KERNEL_VERSION)\b")


def main(queue):
    found = problems(queue)
    for problem in found:
        say(problem)
    if found:
        raise Failure(f"the queue breaks {len(found)} of its rules, see above")
    say("the queue keeps its rules")


def problems(queue):
    """What is wrong, one line for each problem. A problem that stops the reading of the series is raised as Failure."""
    entries = series.load(queue)
    found = orphans(queue, entries)
    for entry in entries:
        found += headers(entry.patch) + new_files(queue, entry.patch)
        found += repeated(entry.patch)
    for kernel in queue.kernels:
        woven = mails.woven(queue, kernel, entries=entries)
        found += [problem for one in woven for problem in version_checks(kernel, one)] + strangers(entries, woven)
        mails.woven(queue, kernel, control=True, entries=entries)
        found += filter(None, [blobs.stale(queue, kernel, woven)])
    found += filter(None, [table.stale(queue)])
    return list(dict.fromkeys(found))


def orphans(queue, entries):
    """Files in the shipped directories that no patch of the series carries."""
    known = set()
    for entry in entries:
        patch = entry.patch
        known.update([patch.path, *patch.new, *patch.inserts, *map(patch.variant_path, patch.variants)])
        outside = [path for path in [patch.path, *patch.new, *patch.inserts] if not ships(path)]
        if outside:
            raise Failure(f"{patch.path}: {outside[0]} is not in one of the places that ship: "
                          f"{' '.join(SHIPPED)}, or a patch at the top")
    files = [file for file in queue.root.glob("*.patch")]
    for place in SHIPPED:
        path = queue.root / place
        files += [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_dir()]
    found = []
    for name in sorted(str(file.relative_to(queue.root)) for file in files):
        if name in known or name.startswith(f"{table.PAGES}/"):     # those pages are about the queue: no kernel gets them
            continue
        if patchfile.VARIANT.fullmatch(name):
            found.append(f"{name}: a variant of a patch that is not in series; add that or remove this")
        elif name.endswith(".patch"):
            found.append(f"{name}: not in series; add a line or remove the file")
        else:
            found.append(f"{name}: carried by no patch; name it in a `New:` line or remove the file")
    return found


def ships(path):
    """Whether a patch may be, or add, the file @path."""
    return not path.startswith(f"{table.PAGES}/") and any(path == place or path.startswith(place + "/") for place in SHIPPED) \
        or ("/" not in path and path.endswith(".patch"))


def headers(patch):
    found = []
    if len(patch.subject) > SUBJECT_MAX:
        found.append(f"{patch.path}: the Subject has {len(patch.subject)} characters, at most {SUBJECT_MAX}")
    if not re.match(r"[\w/.,{}*-]+: \S", patch.subject):
        found.append(f"{patch.path}: the Subject begins with the subsystem and a colon")
    if not patch.body.rpartition("\n\n")[0]:
        found.append(f"{patch.path}: no message above the trailers; say what the problem is and why this way")
    return found


def new_files(queue, patch):
    found = []
    for path in patch.new:
        if path.startswith("Documentation/ABI/"):
            continue        # a fixed format without a place for an SPDX line
        first = mails.shared_file(queue, patch, path)[0].split("\n")[:2]
        if not any("SPDX-License-Identifier: " in line for line in first):
            found.append(f"{path}: no SPDX-License-Identifier in its first two lines")
    return found


def version_checks(kernel, woven):
    return [f"{woven.patch.where(kernel.name, path)}: {match[0]} in {path}; what differs between kernels goes "
            f"into a variant" for path, edit in woven.edits.items()
            for match in [VERSION_CHECKS.search("\n".join(edit.added()))] if match]


def repeated(patch):
    """Hunks of variants that the next newer kernel also has."""
    found, newer = [], patch.diffs
    for name in sorted(patch.variants, key=patchfile.version, reverse=True):
        variant = patch.variants[name]
        for path, diff in variant.diffs.items():
            same = [hunk.lines for hunk in newer[path].hunks] if path in newer else []
            found += [f"{patch.variant_path(name)}: {path}: the hunk {hunk.header} is the one that is inherited; take it out and "
                      f"say so in `Hunks: {path}`, or let `make refresh KERNEL={name}` do it"
                      for hunk in diff.hunks if path not in patch.new and hunk.lines in same]
        newer = patchfile.inherited(newer, variant, patch.new)
    return found


def strangers(entries, woven):
    """Patches that use names of a topic that their own topic does not need."""
    topic = {entry.patch.path: entry.topic.name for entry in entries}
    return [f"{path}: uses what {other} brings, of the topic {topic[other]}: say in series that {topic[path]} needs it, or move "
            f"the patch" for path, needed in needs.of(woven).items() for other in sorted(needed)
            if topic[other] not in series.with_needs(entries, [topic[path]])]
