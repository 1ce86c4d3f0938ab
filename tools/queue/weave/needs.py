# SPDX-License-Identifier: GPL-2.0
"""Which patches need which others, for a source to which not all of them apply.

A patch needs the patches that add a name that its code uses: a function, macro, type, option or header file that an
earlier patch adds; members of structs and constants of enums do not count. This is computed from the patches, so there
is no list to maintain. If a patch is only safe with another one whose names it does not use, it says so with
`Needs: PATH`. If two patches only share lines of a file, git notices: the later one does not apply.
"""

import re
from pathlib import PurePath

CODE = (".c", ".h", ".cocci")
BUILD = ("Makefile", "Kconfig", ".kunitconfig")
DEFINED = re.compile(r"#\s*define\s+(\w+)|(?:struct|union|enum)\s+(\w+)\s*\{|typedef\s.*?(\w+);$")
FUNCTION = re.compile(r"(?!static\b|return\b|else\b|if\b|goto\b)[A-Za-z_](?:[\w\s*]*[\s*])?(\w+)\(")
STATIC = re.compile(r"static\s[\w\s*]*?(\w+)\(")
OPTION = re.compile(r"(?:menu)?config (\w+)$")
COMMENT = re.compile(r"/\*.*?\*/|//.*|^\s*(?:/\*|\*(?!\w)).*")
WORD = re.compile(r"\w+(?:[\w-]*\.h\b)?")


def of(patches):
    """{path of each of @patches, as Woven: the paths of earlier patches that it needs directly}."""
    carried, found = {}, {}         # (file it is confined to or "", name) -> path of the patch that adds it
    here = {woven.patch.path for woven in patches}      # upstream may have what another kernel's queue brings
    for woven in patches:
        edits = woven.edits
        mine = brought(edits)
        path = woven.patch.path
        found[path] = {carried[key] for key in used(edits) - mine if key in carried} | here.intersection(woven.patch.needs)
        carried.update({key: path for key in mine if key not in carried})
    return found


def brought(edits):
    """(file it is confined to or "", name) of the names that @edits add and that no line around them had before."""
    names, before = set(), set()
    for path, edit in edits.items():
        kind = PurePath(path)
        for hunk in edit.hunks:
            for line in hunk.lines:
                if line[0] != "+":
                    before.update(WORD.findall(line))
        if edit.new_mode and kind.suffix == ".h":
            names.add(("", kind.name))
            continue        # a user of its names includes it
        for line in code(path, edit):
            if kind.name.startswith("Kconfig"):
                if match := OPTION.match(line):
                    names |= {("", match[1]), ("", f"CONFIG_{match[1]}")}
            elif kind.suffix in CODE:
                place = "" if kind.suffix == ".h" else path
                names |= {(place, name) for match in DEFINED.finditer(line) for name in match.groups() if name}
                names |= {("", match[1]) for match in [FUNCTION.match(line)] if match}
                names |= {(place, match[1]) for match in [STATIC.match(line)] if match}
    return {key for key in names if key[1] not in before}


def used(edits):
    """Names in added code: anywhere, and in that file."""
    return {key for path, edit in edits.items() for line in code(path, edit) for word in WORD.findall(line)
            for key in (("", word), (path, word))}


def code(path, edit):
    """The added lines of @edit without comments; none if the file is no code."""
    if not path.endswith((*CODE, *BUILD)) and not PurePath(path).name.startswith("Kconfig"):
        return []
    return [COMMENT.sub("", line) for line in edit.added()]
