// SPDX-License-Identifier: GPL-2.0
/* Planted: returns an __rcu pointer as an ordinary one. If sparse reports nothing here, it does not work. */
#define __rcu __attribute__((noderef, address_space(__rcu)))

static int *leak(int __rcu *p)
{
	return p;
}

int *use(int *p);
int *use(int *p)
{
	return leak((int __rcu *)p);
}
