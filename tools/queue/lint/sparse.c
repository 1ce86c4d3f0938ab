// SPDX-License-Identifier: GPL-2.0
/* Planted: hands out an __rcu pointer as an ordinary one. A sparse that finds nothing here is blind. */
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
