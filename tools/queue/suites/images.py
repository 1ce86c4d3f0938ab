# SPDX-License-Identifier: GPL-2.0
"""The kernels that are tested. build.py builds any tree; these are the queue's, whose toggles depend on what was woven."""

from base import config, gitcmd
from lab import build
from weave import tree


def kernel_image(kernel, flavour, kind="guest", toggles="n", place=".obj-off"):
    """A guest kernel: "queue" is the woven one, "control" the unpatched one, "off" the woven one with its toggles off.

    @toggles, @place: as for build.image(), for "off".
    """
    log = config.BUILD / "log" / f"build-{kernel.name}-{flavour}{'' if kind == 'guest' else f'-{kind}'}.log"
    suffix = f"-{flavour}"
    # A toggle may come from a patch that was left out or belongs to another topic.
    partly = tree.recorded(gitcmd.own(kernel.tree, config.queue())).partly
    if flavour == "off":
        return build.image(kernel.tree, kind=kind, toggles=toggles, suffix=suffix, log=log, place=place, toggles_optional=partly)
    if flavour == "control":
        return build.image(kernel.control, kind=kind, suffix=suffix, toggles_optional=True, log=log)
    return build.image(kernel.tree, kind=kind, suffix=suffix, log=log, toggles_optional=partly)
