# SPDX-License-Identifier: GPL-2.0
"""The queue as text: from patches to mails and git trees, and back. Needs nothing but Python and git.

Imports base.
"""
