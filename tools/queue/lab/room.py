# SPDX-License-Identifier: GPL-2.0
"""Room on the disk for `make check`.

For four kernels `make check` needs some 16 GB and `make check-full` 25 GB; files that stay make the next run quick. If
there is less room, files are deleted as soon as the suites of a kernel no longer need them.
"""

import shutil

from base import config, steps
from lab import build, source

SPARE = 20 << 30        # bytes; if less is free, nothing is kept for the next run
NEEDED = 15 << 30       # of what a check takes then


def free():
    config.BUILD.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(config.BUILD).free


def look():
    """Warn if there is too little room for a first check; what a later one needs depends on the files that exist."""
    if not any(kernel.tree.exists() for kernel in config.kernels()) and free() < NEEDED:
        steps.note(f"{free() >> 30} GB are free below {config.BUILD}; a first check of all kernels takes {NEEDED >> 30}")


def after_preparing(kernel):
    """Delete the unpatched files, which only the suite lint needs; it restores them from git."""
    if free() < SPARE:
        source.drop_files(kernel)


def after_guests(kernel):
    give_back([kernel.control, kernel.tree / ".obj-off", *sorted({kernel.tree / kind.place for kind in build.KINDS.values()})])


def after_commits(kernel):
    give_back([kernel.build / "commits", kernel.build / "user", *sorted(kernel.tree.glob(".obj-*-gcc"))])
    after_preparing(kernel)


def give_back(paths):
    paths = [path for path in paths if path.exists()]
    if paths and free() < SPARE:
        with steps.step(f"{free() >> 30} GB are free: removing {' '.join(map(str, paths))}"):
            steps.run(["rm", "-rf", *paths])
