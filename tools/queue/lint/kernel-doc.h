/* SPDX-License-Identifier: GPL-2.0 */
/**
 * planted() - leaves one parameter undocumented
 * @first: documented
 */
int planted(int first, int second);
