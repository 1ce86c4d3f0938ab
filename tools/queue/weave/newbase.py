# SPDX-License-Identifier: GPL-2.0
"""`make base KERNEL=7.2 FROM=7.3`: support for one more kernel, begun with the patches of a supported one.

add() adds it to the files that list kernels: kernels.toml, series, and the exceptions and configurations of the tests.
merge() makes its tree: a patch that does not apply as inherited is merged three-way, with the file before and after
that patch on the FROM kernel. refresh() then writes the variants. report() lists what does not merge.
"""

import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass

from base import config, gitcmd
from base.steps import note, say
from weave import mails, merge as merging, patchfile, refresh, series, tree

# Lists of kernels beside kernels.toml, and fragments of a kernel's configuration.
LISTS = ("control.toml", "skips.toml")


def add(queue, origin, kernel):
    """Add @kernel to the files that list kernels, wherever @origin is listed.

    Returns (the new queue, lines of series whose range cannot include it without including kernels in between).
    """
    lines, name = parse(queue, origin), kernel.name
    section = (f'[[kernel]]\nname = "{name}"\nversion = "{kernel.version}"\npackage = "{kernel.package}"\n'
               f'suites = {json.dumps(kernel.suites)}\n')
    head, *sections = re.split(r"(?=^\[\[kernel\]\]$)", queue.table.read_text(encoding="utf-8"), flags=re.MULTILINE)
    newer = [number for number, text in enumerate(sections)
             if patchfile.version(re.search(r'^name = "(.*)"', text, re.MULTILINE)[1]) > patchfile.version(name)]
    at = newer[0] if newer else len(sections)
    if not newer:
        sections[-1] = sections[-1].rstrip("\n") + "\n\n"
    sections.insert(at, section + ("\n" if newer else ""))
    queue.table.write_text(head + "".join(sections), encoding="utf-8")
    wider = config.load(queue.root, queue.table)
    left = write_series(wider, lines, name)
    place = queue.table.parent
    for path in [place / file for file in LISTS if (place / file).exists()]:
        text = path.read_text(encoding="utf-8")
        order = [kernel.name for kernel in wider.kernels]
        path.write_text(re.sub(r"^kernels = \[(.*)\]$", lambda match: with_name(match[1], origin.name, name, order), text,
                               flags=re.MULTILINE), encoding="utf-8")
    for overlay in sorted((place / "configs").glob(f"*.{origin.name}.config")):
        shutil.copy(overlay, overlay.with_name(overlay.name.replace(f".{origin.name}.", f".{name}.")))
    return wider, left


def with_name(text, origin, name, order):
    """The line that lists kernels, with @name added if it lists @origin."""
    names = re.findall(r'"([^"]+)"', text)
    if origin in names:
        names = sorted({*names, name}, key=order.index)
    return f"kernels = {json.dumps(names)}"


def parse(queue, origin):
    """{number of a line of series: (its word for the kernels, the names of these)} of patches for @origin."""
    found = {}
    for number, line in enumerate(queue.series.read_text(encoding="utf-8").splitlines()):
        words = line.partition("#")[0].split()
        if words and words[0] != "topic":
            names = series.parse_kernels(queue, words[1], f"series:{number + 1}")
            if origin.name in names:
                found[number] = words[1], names
    return found


def write_series(queue, lines, name):
    """Add the new kernel to each of @lines, see parse(); returns the lines that cannot include it."""
    left = []
    text = queue.series.read_text(encoding="utf-8").splitlines()
    known = [kernel.name for kernel in queue.kernels]
    for number, (word, names) in lines.items():
        wanted = sorted({*names, name}, key=known.index)
        if series.parse_kernels(queue, word, "series") == wanted:
            continue
        ends = f"{wanted[0]}..{wanted[-1]}"
        if series.parse_kernels(queue, ends, "series") != wanted:
            left.append(text[number].split()[0])
            continue
        text[number] = re.sub(rf"(?<=\s){re.escape(word)}( {{0,{max(len(ends) - len(word), 0)}}})(?=\s)",
                              ends, text[number], count=1)
    queue.series.write_text("\n".join(text) + "\n", encoding="utf-8")
    return left


@dataclass
class Before:
    """What the supported kernels have before the new one is added."""

    git: gitcmd.Git         # of the FROM kernel's source
    commits: dict           # path of each of its patches -> commit in that repository
    others: list            # {path: Woven} of each other kernel, the newest first
    older: config.Kernel    # the next older kernel, or None


def look(queue, name, origin):
    """Collect, before @name is added, what merge() takes from @origin, whose unpatched tree has to exist, and from the others.

    Makes the tree of the next older kernel, whose patches must not change.
    """
    older = next_older(queue, name)
    if older:
        tree.make(queue, older)
    git = tree.pristine(queue, origin)
    base = git.commit("refs/tags/base")
    done = tree.stack(git, base, origin, mails.woven(queue, origin), queue)
    if not done.whole:
        raise tree.Conflict(done.refused())
    ids = git("rev-list", "--reverse", f"{base}..{done.tip}").split()
    others = [{woven.patch.path: woven for woven in mails.woven(queue, other)}
              for other in reversed(queue.kernels) if other != origin]
    return Before(git, dict(zip((woven.patch.path for woven in done.applied), ids)), others, older)


def next_older(queue, name):
    """The supported kernel before the one called @name, or None."""
    return next((kernel for kernel in reversed(queue.kernels)
                 if patchfile.version(kernel.name) < patchfile.version(name)), None)


def merge(queue, kernel, before):
    """Make build/KERNEL/tree of its source and the patches, and write the variants; returns the Stack."""
    how = {}

    def another_way(git, index, woven):
        path = woven.patch.path
        if path in before.commits and merging.merge(git, index, woven.edits, sides(before.git, before.commits[path], woven)):
            how[path] = "merged"
            return True
        for patches in before.others:
            if path in patches and git.attempt("apply", "--cached", "-", input=patches[path].data, env=index)[0] == 0:
                how[path] = "another kernel's hunks apply"
                return True
        return False

    done = tree.update(queue, kernel, kernel.tree, "queue", mails.woven(queue, kernel), force=True, partly=True,
                       fallback=another_way)
    for path, what in how.items():
        note(f"{path}: {what}")
    refresh.refresh(queue, kernel)
    if done.whole:
        tree.pin(queue, kernel)
    if before.older:
        # From now on it inherits from the new kernel.
        refresh.refresh(queue, queue.kernel(before.older.name), first=True)
    return done


def sides(source, commit, woven):
    """{path: its text before and after @commit in the repository @source, or None if it does not exist}."""
    found = {}
    for path in woven.edits:
        texts = [source.attempt("cat-file", "blob", f"{revision}:{path}") for revision in (f"{commit}^", commit)]
        found[path] = tuple(None if status else text for status, text, _ in texts)
    return found


@contextmanager
def saved(queue):
    """with-block: an error in it restores what add() and merge() have written."""
    before = contents(queue)
    try:
        yield
    except BaseException:
        for file in contents(queue).keys() - before.keys():
            file.unlink()
        for file, data in before.items():
            if not file.exists() or file.read_bytes() != data:
                file.write_bytes(data)
        raise


def contents(queue):
    """{path: bytes} of series, the patches, and all files beside kernels.toml."""
    places = [queue.table.parent, *(queue.root / place for place in config.SHIPPED)]
    files = [queue.series, *places, *queue.root.glob("*.patch"), *(file for place in places for file in place.rglob("*"))]
    return {file: file.read_bytes() for file in files if file.is_file()}


def report(kernel, done, ranges):
    """Say what remains to be done by hand; @ranges: patches whose line in series cannot include the kernel."""
    say(f"\n{kernel.name}: {len(done.applied)} of {len(done.applied) + len(done.left) + len(done.there)} patches are in "
        f"{kernel.tree}, and written here.")
    for path in done.there:
        say(f"    {path}: {kernel.name} has this already: take it out of the patch's range in series")
    for path, why in done.left.items():
        say("    " + tree.named(path, why).splitlines()[0])
    if done.left:
        say(f"Add each of those in {kernel.tree}, a commit with the patch's subject at its place, and `make refresh "
            f"KERNEL={kernel.name}`.")
    for path in ranges:
        say(f"    {path}: not tried: no range in series has {kernel.name} and leaves out the kernels between")
    say("Then `make table` and `make verify`.")
