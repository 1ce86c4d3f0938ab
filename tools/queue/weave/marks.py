# SPDX-License-Identifier: GPL-2.0
"""Recognizes whose tree a user's tree is, and finds what it already has of the things that the queue adds."""

import re
from fnmatch import fnmatchcase

from base import config
from weave import needs, patchfile

# Whose tree it is: paths that upstream lacks. A * matches names at that depth.
MARKS = (
    ("Android's common kernel", ("android", "build.config.gki*", "build.config.common", "include/linux/android_kabi.h",
                                 "include/linux/android_vendor.h")),
    ("Rockchip's", ("drivers/rkflash", "drivers/rk_nand", "drivers/video/rockchip", "include/linux/rk_keys.h", "include/uapi/linux/rk-*.h",
                    "arch/arm64/boot/dts/rockchip/rk*-evb*-v1?-linux.dts", "arch/arm64/configs/rockchip_linux_defconfig")),
    ("Qualcomm's", ("techpack", "build.config.msm*", "arch/arm64/configs/vendor")),
    ("NXP's", ("drivers/mxc", "drivers/gpu/imx/lcdifv3", "arch/arm64/configs/imx_v8_defconfig", "arch/arm/configs/imx_v7_defconfig")),
    ("TI's", ("ti_config_fragments",)),
    ("Nuvoton's", ("arch/arm64/configs/ma35d1_defconfig",)),
    ("Raspberry Pi's", ("arch/arm/boot/dts/overlays", "arch/arm64/configs/bcm2711_defconfig", "drivers/char/broadcom")),
    ("Xilinx's", ("arch/arm64/configs/xilinx_defconfig",)),
    ("NVIDIA's", ("nvidia", "drivers/platform/tegra")),
    ("Amlogic's", ("drivers/amlogic", "common_drivers")),
    ("MediaTek's", ("drivers/misc/mediatek",)),
)
# The same by the content of a file.
WORDS = (("Android's common kernel", "include/linux/dma-buf.h", r"ANDROID_|android_"),
         ("Android's common kernel", "include/linux/mm.h", r"trace/hooks|ANDROID_"),
         ("Rockchip's", "drivers/dma-buf/Kconfig", r"DMABUF_CACHE|DMABUF_RK|RK_"),
         ("Rockchip's", "drivers/gpu/drm/rockchip/Kconfig", r"ROCKCHIP_DRM_DIRECT_SHOW|ROCKCHIP_VCONN"))
# What a later release added: (release, file, text in it). In an older tree that is a backport; no patch here is made for it.
LATER = (("v5.11", "include/linux/mm.h", "vma_set_file"), ("v5.18", "include/linux/iosys-map.h", "struct iosys_map"),
         ("v5.18", "include/linux/dma-fence-unwrap.h", "dma_fence_unwrap_for_each"),
         ("v5.19", "include/linux/dma-resv.h", "enum dma_resv_usage"),
         ("v6.17", "include/linux/dma-fence.h", "dma_fence_driver_name"))
UAPI, CORE = "include/uapi/linux/dma-buf.h", "drivers/dma-buf/dma-buf.c"
IMPORT = "DMA_BUF_IOCTL_IMPORT_SYNC_FILE"


def describe(git, head):
    """The tree in words: its version and whose it is, with the mark that shows it."""
    _, version = config.parse_release(show(git, head, "Makefile"))
    extra = re.search(r"^EXTRAVERSION[ \t]*=[ \t]*(\S+)", show(git, head, "Makefile"), re.MULTILINE)
    tops = git("ls-tree", "-z", "--name-only", "--full-tree", head).split("\0")
    local = [name for name in tops if name.startswith("localversion")]
    words = [f"Linux {version}{extra[1] if extra else ''}" + "".join(show(git, head, name).strip() for name in local)]
    return ", ".join(words + [f"{name} by {mark}" for name, mark in owners(git, head).items()])


def owners(git, head):
    """{whose the tree is: the mark}."""
    patterns = [(name, pattern) for name, found in MARKS for pattern in found]
    places = sorted({pattern.rpartition("/")[0] for _, pattern in patterns} - {""})
    listed = git("ls-tree", "-z", "--name-only", "--full-tree", head).split("\0")[:-1]
    listed += git("ls-tree", "-z", "--name-only", "--full-tree", head, "--", *(f"{place}/" for place in places)).split("\0")[:-1]
    found = {}
    for name, pattern in patterns:
        mark = next((path for path in listed if path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)), "")
        if mark and name not in found:
            found[name] = mark
    for name, path, words in WORDS:
        if name not in found and (match := re.search(words, show(git, head, path))):
            found[name] = f"{match[0]} in {path}"
    return found


def show(git, head, path):
    return git.attempt("cat-file", "blob", f"{head}:{path}")[1]


def own(git, head, woven):
    """{name: file} of names that the patch adds and the tree already has in that file."""
    found = {}
    for path, edit in woven.edits.items():
        names = {name for _, name in needs.brought({path: edit})} if not edit.new_mode else set()
        text = show(git, head, path) if names else ""
        found.update({name: path for name in sorted(names) if re.search(
            rf"^(?:#\s*define\s+{name}\b|(?:struct|union|enum)\s+{name}\s*\{{|[A-Za-z_][\w\s*]*\b{name}\()", text, re.MULTILINE)})
    return found


def notes(git, head, trial):
    """What the tree already has, in sentences that say what to do about it; nothing if all patches apply."""
    failed = {**trial.strict.left, **dict.fromkeys(trial.strict.there, "")}
    mine = {woven.patch.path: own(git, head, woven) for woven in trial.patches if woven.patch.path in trial.strict.left}
    found = ioctls(git, head, trial, mine) + later(git, head)
    for path, names in mine.items():
        if names and not any(name.startswith("DMA_BUF_IOCTL_") for name in names):
            name, file = next(iter(names.items()))
            found.append(f"{name} is in {file} already, which {path} brings" + (f" ({len(names)} such names)" if len(names) > 1 else ""))
    return found + halves(trial, failed, mine)


def later(git, head):
    """What the tree has of a release after its own."""
    name, _ = config.parse_release(show(git, head, "Makefile"))
    return [f"{word} ({path}) is a backport from {release}: a conflict in code that uses it is for you to resolve, after what the "
            f"patch for a kernel of {release} or later does" for release, path, word in LATER
            if patchfile.version(release[1:]) > patchfile.version(name) and re.search(rf"\b{word}\b", show(git, head, path))]


def ioctls(git, head, trial, mine):
    """The sync_file ioctls of a vendor, if the queue adds upstream's."""
    brings = any(IMPORT in {name for _, name in needs.brought(woven.edits)} for woven in trial.patches)
    if not brings or IMPORT not in show(git, head, UAPI):
        return []
    said = (f"The sync_file ioctls are there already ({IMPORT} in {UAPI}), as a vendor's or a backport. The topic sync-file has its own. "
            f"To replace them: revert what brought them (`git log --oneline -S{IMPORT} -- {UAPI} {CORE}` lists it), then apply the topic "
            f"sync-file. User space sees the same ioctls.")
    if drops(show(git, head, CORE)):
        said += (f"\n    Do replace them: the import in {CORE} calls dma_resv_add_excl_fence() without the fences that the buffer has, "
                 f"which drops these: whoever waits for the buffer no longer waits for the work that the kernel's drivers do on it.")
    return [said]


def drops(text):
    """Whether the import in dma-buf.c replaces the fences of the buffer: it adds an exclusive fence without getting the others first."""
    case = re.search(rf"case {IMPORT}:\s*(?:return|\w+ =) (\w+)\(", text)
    name = case[1] if case else "dma_buf_import_sync_file"
    match = re.search(rf"^[^\n]*\b{name}\([^;{{]*\{{(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    body = match[1] if match else ""
    return "dma_resv_add_excl_fence(" in body and not re.search(r"singleton|dma_resv_get_fences", body)


def halves(trial, failed, mine):
    """Incomplete backports: the tree has a patch, but not another one that needs it."""
    have = {path for path in failed if path in trial.strict.there or mine.get(path)}
    needed, found = needs.of(trial.patches), []
    upstream = {woven.patch.path: woven.patch.upstream for woven in trial.patches}
    for path in sorted(have):
        lacks = [other for other, wants in needed.items() if path in wants and other not in have
                 and upstream[other] != "no" and upstream[path] != "no"]
        if lacks:
            found.append(f"Half a backport, of the topic {trial.topics[path]}: the tree has what {path} does ({upstream[path]}), "
                         f"but not what {', '.join(lacks)} does. Add the rest by MERGE=1, or revert that part and take the topic whole.")
    return found
