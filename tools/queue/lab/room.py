# SPDX-License-Identifier: GPL-2.0
"""Room on the disk for `make check`.

With all that it makes for four kernels it takes some 16 GB, `make check-full` 25, which make the next one quick. Where there is less,
what is not needed any more goes as soon as a kernel's suites are done.
"""

import shutil

from base import config, steps
from lab import build, source

SPARE = 20 << 30        # bytes; with less than that free nothing is kept for the next time
NEEDED = 15 << 30       # of what a check takes then


def free():
    config.BUILD.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(config.BUILD).free


def look():
    """Say so if there is too little for a first check; whether there is enough for a later one depends on what is there."""
    if not any(kernel.tree.exists() for kernel in config.kernels()) and free() < NEEDED:
        steps.note(f"{free() >> 30} GB are free below {config.BUILD}; a first check of all kernels takes {NEEDED >> 30}")


def after_preparing(kernel):
    """The unpatched files are for the suite lint, which unpacks them; git has them."""
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
