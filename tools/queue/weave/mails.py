# SPDX-License-Identifier: GPL-2.0
"""From the queue to mailbox patches for one kernel: the same bytes each time, without a kernel tree,
named and numbered as by git format-patch.
"""

import email.header
import email.utils
import re
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase as fnmatch
from pathlib import PurePath
from typing import NamedTuple

from base.steps import Failure, decode, encode
from weave import blobs, diffstat, series, udiff
from weave.patchfile import Patch
from weave.udiff import FileDiff, Hunk

OPTIONS = "Kconfig.patch"       # adds the options of all topics, one hunk for each
NAME_MAX = 64       # git's FORMAT_PATCH_NAME_MAX, with the suffix and a NUL


class Woven(NamedTuple):
    name: str       # of the file: 0001-subject.patch
    data: bytes
    patch: Patch
    edits: dict     # path: FileDiff, sorted, new files included


def woven(queue, kernel, control=False, entries=None, known=None):
    """The patches for @kernel as mails; with @control only those of the negative control.

    @entries: a loaded series; @known: ids in the form of blobs.load(), instead of the recorded ones.
    """
    patches = [(patch, edit) for patch, edit in edits_of(queue, kernel, control, entries or series.load(queue))
               if edit or patch.path != OPTIONS]
    lines = blobs.index_lines(blobs.load(queue, kernel) if known is None else known, [edit for _, edit in patches])
    return [Woven(file_name(number, patch.subject), mail(queue, kernel, patch, edit, number, len(patches), lines[number - 1]), patch, edit)
            for number, (patch, edit) in enumerate(patches, 1)]


def edits_of(queue, kernel, control, entries):
    """(patch, its FileDiffs by path) for each chosen patch of the series @entries."""
    chosen = series.select(queue, entries, kernel, control)
    edits = [diffs(queue, kernel, entry.patch) for entry in chosen]
    return list(zip([entry.patch for entry in chosen], edits if control else without_strangers(queue, chosen, edits, entries)))


def without_strangers(queue, chosen, edits, entries):
    """The @edits of the @chosen patches without the parts that belong to @entries which are not woven.

    These parts are file patterns in MAINTAINERS of files that no patch here adds and, for a selection of topics, options
    in OPTIONS that nothing here uses.
    """
    here = {path for edit in edits for path, diff in edit.items() if diff.new_mode}
    absent = {path for entry in entries for path in entry.patch.new} - here
    names = {name for entry, edit in zip(chosen, edits) if entry.patch.path != OPTIONS
             for path, diff in edit.items() for name in options_used(path, diff)}
    found = []
    for entry, edit in zip(chosen, edits):
        if queue.features and entry.patch.path == OPTIONS:
            edit = {path: only(diff, lambda hunk: not options(hunk) or options(hunk) & names) for path, diff in edit.items()}
            edit = {path: diff for path, diff in edit.items() if diff.hunks}
        found.append({path: insertion_without(diff, here, absent) if path in entry.patch.inserts else diff for path, diff in edit.items()})
    return found


def options_used(path, diff):
    """The options that code compiled into a kernel depends on: tests in user space only request them."""
    if path.startswith("tools/") or path.endswith((".rst", ".cocci")):
        return set()
    text = "\n".join(diff.added())
    words = re.findall(r"\w+", text) if PurePath(path).name.startswith("Kconfig") else re.findall(r"CONFIG_(\w+)", text)
    return set(words)


def options(hunk):
    """The options that a hunk adds."""
    return set(re.findall(r"^\+(?:menu)?config (\w+)$", "\n".join(hunk.lines), re.MULTILINE))


def only(diff, wanted):
    """@diff with only the @wanted hunks."""
    hunks = [hunk for hunk in diff.hunks if wanted(hunk)]
    return udiff.move(replace(diff, hunks=hunks), [hunk.old_start for hunk in hunks])


def insertion_without(diff, here, absent):
    """@diff without those added lines of MAINTAINERS that match files that are @absent and no file that is @here."""
    def stays(line):
        pattern = re.fullmatch(r"\+F:\t(\S+?)(/?)", line)
        if not pattern:
            return True
        glob = f"{pattern[1]}/*" if pattern[2] else pattern[1]
        return any(fnmatch(path, glob) for path in here) or not any(fnmatch(path, glob) for path in absent)

    hunk = diff.hunks[0]
    lines = [line for line in hunk.lines if stays(line)]
    return replace(diff, hunks=[replace(hunk, lines=lines, new_count=hunk.new_count - len(hunk.lines) + len(lines))])


def write(queue, kernel):
    """Write the mails to @kernel.out, replacing those of an earlier run; returns their paths."""
    patches = woven(queue, kernel)
    kernel.out.mkdir(parents=True, exist_ok=True)
    for stale in kernel.out.glob("[0-9][0-9][0-9][0-9]-*.patch"):
        stale.unlink()
    for patch in patches:
        (kernel.out / patch.name).write_bytes(patch.data)
    return [kernel.out / patch.name for patch in patches]


def file_name(number, subject):
    slug = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9._]+", "-", subject)).lstrip("-").rstrip("-.")
    return f"{number:04}-{slug}"[:NAME_MAX - len(".patch") - 1] + ".patch"


def date(queue, number):
    start = email.utils.parsedate_to_datetime(queue.date)
    return email.utils.format_datetime(start + timedelta(seconds=number - 1))


def mail(queue, kernel, patch, edits, number, total, lines):
    """The mail of @patch, which does @edits; @lines: the `index` line of each path that has one."""
    tag = f"[PATCH {number:0{len(str(total))}}/{total}]" if total > 1 else "[PATCH]"
    subject = f"{tag} {patch.subject}"
    if not subject.isascii():
        subject = email.header.Header(subject, "utf-8", header_name="Subject").encode()
    head = ["From " + "0" * 40 + " Mon Sep 17 00:00:00 2001",     # the date by which file(1) recognizes a patch
            f"From: {queue.identity}",
            f"Date: {date(queue, number)}",
            f"Subject: {subject}"]
    if not patch.message.isascii():
        head += ["MIME-Version: 1.0", "Content-Type: text/plain; charset=UTF-8",
                 "Content-Transfer-Encoding: 8bit"]
    if not edits:
        raise Failure(f"{patch.path}: changes nothing on {kernel.name}; give it a diff or a `New:` file, "
                      f"or take {kernel.name} out of its line in series")
    return encode("\n".join([*head, "", patch.body, "---", diffstat.text(edits), ""])
                  + "".join(edit.text(lines.get(path, "")) for path, edit in edits.items())
                  + f"-- \n{kernel.name}\n\n")


def diffs(queue, kernel, patch):
    """What @patch does on @kernel: FileDiffs by path, sorted, new files and insertions included."""
    edits, without = patch.edits(kernel.name), patch.without(kernel.name)
    for path, edit in edits.items():
        for number, hunk in enumerate(edit.hunks, 1):
            if path not in patch.inserts and all(line[0] == " " for line in hunk.lines):
                raise Failure(f"{patch.where(kernel.name, path)}: {path}, hunk {number} changes nothing; "
                              f"take it out")
    for path in patch.inserts:
        if path not in without:
            edits[path] = insertion(queue, kernel, patch, path)
    for path in patch.new:
        if path not in without:
            edits[path] = udiff.creation(path, *new_file(queue, kernel, patch, path))
    return dict(sorted(edits.items()))


def new_file(queue, kernel, patch, path):
    """The text of a new file on @kernel, and whether it is executable."""
    text, executable = shared_file(queue, patch, path)
    for name in patch.chain(kernel.name):
        edit = patch.variants[name].diffs.get(path)
        if edit:
            text = with_edit(patch, name, path, edit, text)
    return text, executable


def with_edit(patch, name, path, edit, text):
    """The @text of a new file of @patch with the variant's @edit for the kernel called @name."""
    try:
        return udiff.apply(edit, text)
    except udiff.Mismatch as mismatch:
        number, line = mismatch.args
        raise Failure(f"{patch.variant_path(name)}: hunk {number} (line {line}) does not fit "
                      f"{path} as it is now; correct the hunk, or edit that file in "
                      f"`make tree KERNEL={name}` and `make refresh`") from mismatch


def shared_file(queue, patch, path):
    """The text, in the repository, of a file that @patch carries or inserts."""
    file = queue.root / path
    if file.is_symlink() or not file.is_file():
        raise Failure(f"{patch.path}: its file {path} is missing; put it there or take the line out")
    text = decode(file.read_bytes())
    if not text.endswith("\n"):
        raise Failure(f"{path}: empty, or no newline at its end")
    if "\r" in text or "\0" in text:
        raise Failure(f"{path}: carriage returns or NULs, which mail does not carry")
    return text, bool(file.stat().st_mode & 0o100)


def insertion(queue, kernel, patch, path):
    """The diff that inserts the text of the repository's file @path into the kernel's.

    The patch's own diff only says where: one hunk of context lines, an even number of them. The
    text goes into its middle, which is next to an empty line, and gets one empty line of its own to
    separate it from the neighbour on the other side. So the file holds the bare entry.
    """
    place = patch.edits(kernel.name).get(path)
    where = patch.where(kernel.name, path)
    if not place:
        raise Failure(f"{where}: `Inserts: {path}` needs a hunk of context lines of {path}, to say where")
    return insert(place, shared_file(queue, patch, path)[0], where)


def insert(place, text, where):
    """insertion() of @text by the FileDiff @place; @where is for error messages."""
    hunk, path = place.hunks[0], place.path
    middle = len(hunk.lines) // 2
    if len(place.hunks) > 1 or len(hunk.lines) % 2 or any(line[0] != " " for line in hunk.lines):
        raise Failure(f"{where}: the diff of {path} is one hunk of context lines only, an even number; "
                      f"the text is inserted in its middle")
    lines = text.strip("\n").split("\n")
    if hunk.lines[middle - 1] == " ":
        lines = lines + [""]
    elif hunk.lines[middle] == " ":
        lines = [""] + lines
    else:
        raise Failure(f"{where}: no empty line at the middle of the hunk, where {path} is inserted")
    return FileDiff(path, [Hunk(hunk.old_start, hunk.old_count, hunk.new_start,
                                hunk.new_count + len(lines), hunk.section,
                                hunk.lines[:middle] + ["+" + line for line in lines]
                                + hunk.lines[middle:])])
