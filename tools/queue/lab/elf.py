# SPDX-License-Identifier: GPL-2.0
"""The shared libraries that programs from unpacked packages need in a guest."""

import re

from base import steps
from base.steps import Failure

LIBRARIES, LIBRARIES_ARM64 = "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"


def needed(binary):
    """(names of the libraries that @binary asks for, its loader or None)"""
    text = steps.run(["readelf", "-W", "-d", "-l", binary], what=f"reading {binary}")
    loader = re.search(r"program interpreter: (\S+)\]", text)
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", text), loader and loader[1]


def libraries(base, binaries, more=(), main=LIBRARIES):
    """{path in the guest: path here} of the shared libraries of @binaries, all from @base.

    They are in the directory @main, or in one of its subdirectories @more, for programs that search there.
    """
    places = [main, *(f"{main}/{name}" for name in more), main.removeprefix("usr/")]
    found, queue = {}, list(binaries)
    # Follow what each file needs: two thirds of the packages are not needed.
    while queue:
        names, loader = needed(queue.pop())
        for name in names:
            place = next((place for place in places if (base / place / name).exists()), None)
            if place is None:
                raise Failure(f"{name} is in none of the packages in {base}; remove that and try again")
            # The guest has no link from /lib to /usr/lib, so all are in one place.
            target = f"{place if place.startswith('usr/') else main}/{name}"
            if target not in found:
                found[target] = base / place / name
                queue.append(found[target])
        if loader:
            found[loader.lstrip("/")] = base / main / loader.rpartition("/")[2]
    return found
