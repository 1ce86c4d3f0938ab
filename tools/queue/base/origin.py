# SPDX-License-Identifier: GPL-2.0
"""What a kernel's unpatched source is, according to the tag `base` of its git tree, which lab/source.py writes."""

from base import gitcmd

OWN = "linux"       # instead of the package's name: a source that FROM= named


def recorded(queue, kernel, place=None):
    """(package or OWN, version) of the source in build/KERNEL/pristine, or of the tree at @place; or ("", "")."""
    place = place or kernel.pristine
    if not place.is_dir():
        return "", ""
    words = gitcmd.own(place, queue).attempt("log", "-1", "--format=%s", "refs/tags/base")[1].split()
    return (words[0], words[1]) if len(words) > 1 else ("", "")


def is_tested(queue, kernel):
    return recorded(queue, kernel) == (kernel.package, kernel.version)
