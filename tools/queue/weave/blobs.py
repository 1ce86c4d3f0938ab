# SPDX-License-Identifier: GPL-2.0
"""The ids of the tested kernel's files before and after each patch, for the `index` lines of the mails. By these lines
`git am -3` finds the file that a patch was made for. blobs-KERNEL.txt, beside kernels.toml, has one line for each file;
`make pin` and `make refresh` write it:

    PATH MODE BLOB STATE:BLOB STATE:BLOB...

The first blob is the file of the tested source. Each further one is the file after the patches whose hunks hash to
STATE. A selection of topics therefore has an id, too, if all earlier changes of the file are selected. Otherwise there
is no id, and the mail has no index line: a wrong one would make git merge with the wrong file.
"""

import hashlib

from base.steps import Failure, encode

HEAD = ("# SPDX-License-Identifier: GPL-2.0\n"
        "# Ids of the tested files before and after each patch, by `make pin`: see tools/queue/weave/blobs.py\n")
DIGITS = 12
TESTED = ""         # the state of a file that no patch has changed


def place(queue, kernel):
    return queue.table.with_name(f"blobs-{kernel.name}.txt")


def load(queue, kernel):
    """{path: (mode, {state: id})} as recorded in blobs-KERNEL.txt."""
    file, known = place(queue, kernel), {}
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    for number, entry in enumerate(text.splitlines(), 1):
        if entry.startswith("#"):
            continue
        try:
            path, mode, base, *states = entry.split(" ")
            known[path] = mode, {TESTED: base, **dict(state.split(":") for state in states)}
        except ValueError as error:
            raise Failure(f"{file}:{number}: not `PATH MODE BLOB STATE:BLOB...`; `make pin KERNELS={kernel.name}` writes it") from error
    return known


def state(before, diff):
    """The state of a file after @diff, computed from the state before it; line numbers do not matter."""
    text = "\n@@\n".join([before, *("\n".join(hunk.lines) for hunk in diff.hunks)])
    return hashlib.sha256(encode(text)).hexdigest()[:8]


def steps(edits):
    """For each of @edits, {path: FileDiff} of patches in order: {path: (state before, state after)} of files that exist."""
    at, found = {}, []
    for edit in edits:
        step = {}
        for path, diff in edit.items():
            if not diff.new_mode:
                before = at.get(path, TESTED)
                at[path] = state(before, diff)
                step[path] = before, at[path]
        found.append(step)
    return found


def index_lines(known, edits):
    """For each of @edits: {path: its `index` line}, for the files whose ids are @known."""
    found = []
    for edit, step in zip(edits, steps(edits)):
        lines = {path: line("0" * DIGITS, blob(diff)) for path, diff in edit.items() if diff.new_mode}
        for path, ends in step.items():
            mode, ids = known.get(path, ("", {}))
            if all(end in ids for end in ends):
                lines[path] = line(ids[ends[0]], ids[ends[1]], mode)
        found.append(lines)
    return found


def line(before, after, mode=""):
    return f"index {before[:DIGITS]}..{after[:DIGITS]} {mode}".rstrip()


def blob(diff):
    """The id of the file that @diff creates."""
    data = encode("".join(line + "\n" for line in diff.added()))
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()[:DIGITS]


def of(done):
    """What load() would return, computed from @done, a tree.Stack on the tested source."""
    known = {path: (mode, {TESTED: blob[:DIGITS]}) for path, (mode, blob) in done.base.items()}
    for step, files in zip(steps([woven.edits for woven in done.applied]), done.files):
        for path, (_, after) in step.items():
            known[path][1][after] = files[path][1][:DIGITS]
    return known


def write(queue, kernel, done):
    """Record the ids of @done, a tree.Stack on the tested source; returns whether they changed."""
    file = place(queue, kernel)
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    new = HEAD + "".join(f"{path} {mode} {ids[TESTED]} {' '.join(f'{at}:{blob}' for at, blob in ids.items() if at)}\n"
                         for path, (mode, ids) in sorted(of(done).items()) if len(ids) > 1)
    if new != old:
        file.write_text(new, encoding="utf-8")
    return new != old


def stale(queue, kernel, woven):
    """What is wrong with the record for these patches, all of the @kernel's, or ""."""
    file = place(queue, kernel)
    if not file.exists() and not kernel.woven:
        return ""       # never pinned
    wanted = {}
    for step in steps([one.edits for one in woven]):
        for path, (_, after) in step.items():
            wanted.setdefault(path, []).append(after)
    found = {path: [at for at in ids if at] for path, (_, ids) in load(queue, kernel).items()}
    wrong = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
    return (f"{file.name}: not of the patches as they are ({len(wrong)} files, such as {wrong[0]}); "
            f"`make pin KERNELS={kernel.name}` writes it") if wrong else ""
