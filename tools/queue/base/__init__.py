# SPDX-License-Identifier: GPL-2.0
"""What the other packages share, and what needs only Python and git: places, kernels, running programs.

Imports none of the other packages.
"""
