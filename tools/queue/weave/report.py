# SPDX-License-Identifier: GPL-2.0
"""What `make am` says of a Trial: each patch that does not apply and why, what the tree is and has, and which command to use next."""

import re

from weave import marks, series, trial as trials


def refusal(git, head, kdir, trial):
    """Why nothing was applied, and what would be."""
    bad = trial.bad(merging=False, lenient=False)
    number, total = len(bad), len(trial.patches)
    merges = trial.merged is not None and not trial.bad(merging=True, lenient=True)
    return "\n".join([
        f"the queue does not apply to {kdir}, which was not changed: that is {marks.describe(git, head)}; the queue was made for "
        f"{trial.kernel.version}.", f"{number} of {total} patches do not apply:",
        *by_topic(git, head, trial, bad), *of_its_own(git, head, trial), *commands(git, head, kdir, trial, merges)])


def conflicts(git, head, kdir, trial):
    """Where git am -3 will stop; said before it begins."""
    bad = trial.bad(merging=True, lenient=True)
    some = commands(git, head, kdir, trial, False)
    return "\n".join([f"{kdir} is {marks.describe(git, head)}; the queue was made for {trial.kernel.version}.",
                      *merged(trial, True, "merges"), f"{len(bad)} of {len(trial.patches)} patches conflict or need one that does:",
                      *by_topic(git, head, trial, bad), *of_its_own(git, head, trial),
                      *(["Instead of going on by hand, `git am --abort` and one of these:", *some[1:]] if len(some) > 1 else [])])


def nearest(git, head, name, kernels, counts, at, done, first, merging):
    """Which kernel's patches a tree between two kernels takes, and which topics do not apply."""
    bad = first.bad(merging, lenient=True)
    chosen = series.chosen(first.queue, first.entries)
    inside = series.chosen(done.queue, done.entries) if done else []
    lines = [f"{marks.describe(git, head)}: in whole go " + ", ".join(
        f"{count} of the topics of {kernel.name}" for kernel, count in zip(kernels, counts)) + f"; taken is {kernels[at].name}."]
    if inside:
        lines.append(f"In whole: {' '.join(inside)}")
    for topic in chosen:
        if topic in inside:
            continue
        own = [path for path in bad if first.topics[path] == topic]
        needs = [other for other in series.with_needs(first.entries, [topic]) if other not in inside and other != topic]
        why = f"for {len(own)} of its patches" if own else f"needs {' '.join(needs)}" if needs else \
            "its patches build on those of a topic that does not go in"
        lines += [f"Not {topic}, {why}" + ":" * bool(own), *(f"    {path}: {reason(git, head, first, path)}" for path in own)]
    if inside and bad and not merging:
        lines.append("MERGE=1 with NEAREST=1 merges what does not apply as it is: take this out first, see below.")
    return "\n".join(lines + of_its_own(git, head, first))


def by_topic(git, head, trial, bad):
    """A line for each patch, below its topic."""
    lines = []
    for topic in series.topics(trial.entries):
        own = [path for path in trial.topics if path in bad and trial.topics[path] == topic]
        lines += [f"  {topic}:"] * bool(own) + [f"    {path}: {reason(git, head, trial, path)}" for path in own]
    return lines


def reason(git, head, trial, path):
    """Why the patch called @path does not apply."""
    for known in (trial.missing, trial.dropped):
        if path in known:
            return known[path]
    woven = next(woven for woven in trial.patches if woven.patch.path == path)
    if path in trial.strict.there or (trial.merged and path in trial.merged.there):
        return "the tree has it already" + (f", from {woven.patch.upstream} by a newer stable or a backport"
                                            if woven.patch.upstream != "no" else "")
    merges = trial.merged is not None and path not in trial.merged.left
    why = (trial.merged.left[path] if trial.merged is not None and not merges else trial.strict.left[path]).split("\n")[0]
    if why.startswith("needs "):
        first, *more = why.removeprefix("needs ").split(" and ")
        return f"needs {first}" + (f" and {len(more)} more" if more else "") + ", goes in with MERGE=1" * merges
    hunk = re.search(r"hunk \d+ of \S+ \(line \d+\)", why)
    there = re.search(r"there is no (\S+)", why)
    words = hunk[0] if hunk else f"the tree has no {there[1]}" if there else why.removeprefix(f"{path}: ")
    own = marks.own(git, head, woven)
    also = f"; the tree has its own {', '.join(list(own)[:3])}" if own else ""
    if trial.merged is None:
        return words + (": applies with fuzz only" if path in trial.fuzz else " does not apply" if hunk else "") + also
    if not merges:
        return words + (": conflict, though it applies with fuzz" if path in trial.fuzz else ": conflict" if hunk else "") + also
    return words + (": fuzz only, MERGE=1 merges it" if path in trial.fuzz else ": MERGE=1 merges it") + also


def merged(trial, merging, word="merged"):
    """What was done to patches that did not apply as they are; with another @word, what will be done."""
    done = trial.stack(merging)
    lines = [f"{word}: {woven.patch.path}" for woven in done.applied if woven.patch.path in trial.three_way]
    lines += [f"left out, the tree has it already: {path}" for path in done.there]
    return lines + [f"left out, {why}: {path}" for path, why in trial.dropped.items()]


def of_its_own(git, head, trial):
    found = marks.notes(git, head, trial)
    return ["The tree has of its own:", *("  " + text for text in found)] if found else []


def commands(git, head, kdir, trial, merges):
    """Which command to use next."""
    lines, before = ["Next, one of:"], None
    if merges:
        lines.append(f"    make am KDIR={kdir} MERGE=1{chosen(trial)}    # all of it, "
                     f"{len(merged(trial, True))} of the patches merged or left out")
    for merging in [False] + [True] * (trial.merged is not None and not merges):
        some, _ = trials.whole(trial.queue, trial.kernel, git, head, trial.kernel.name, merging, lenient=merging)
        if some and some.stack(merging).applied and before != some.queue.features:
            before = some.queue.features
            lines.append(f"    make am KDIR={kdir} {'MERGE=1 ' * merging}FEATURES=\"{' '.join(trials.shortest(some))}\"")
    if trial.merged is None:
        lines.append(f"    make am KDIR={kdir} MERGE=1{chosen(trial)}    # merges with the tested source, which it gets")
    return lines if len(lines) > 1 else []


def chosen(trial):
    return f" FEATURES=\"{' '.join(trial.queue.features)}\"" if trial.queue.features else ""
