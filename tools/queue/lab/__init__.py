# SPDX-License-Identifier: GPL-2.0
"""What makes a kernel run: Debian's packages, sources, builds, guests, Xen. Knows nothing of the series or of verdicts.

Imports base.
"""
