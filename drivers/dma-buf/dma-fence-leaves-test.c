// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for taking fence containers apart. Each test keeps the fences that it
 * makes in one table, so that one loop cleans up however the test ends.
 */

#include <kunit/test.h>
#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "dma-fence-leaves.h"
#include "dma-fence-mock.h"

#define MAX_FENCES 1100

struct leaves_test {
	struct dma_fence_leaves leaves;
	struct dma_fence *fences[MAX_FENCES];
	unsigned int count;
};

static int leaves_test_init(struct kunit *test)
{
	test->priv = kunit_kzalloc(test, sizeof(struct leaves_test), GFP_KERNEL);
	return test->priv ? 0 : -ENOMEM;
}

static void leaves_test_exit(struct kunit *test)
{
	struct leaves_test *t = test->priv;

	dma_fence_leaves_fini(&t->leaves);
	while (t->count--) {
		dma_fence_signal(t->fences[t->count]);
		dma_fence_put(t->fences[t->count]);
	}
}

static struct dma_fence *keep(struct kunit *test, struct dma_fence *fence)
{
	struct leaves_test *t = test->priv;

	KUNIT_ASSERT_TRUE(test, fence && t->count < MAX_FENCES);
	t->fences[t->count++] = fence;
	return fence;
}

static struct dma_fence *leaf(struct kunit *test, u64 context, u64 seqno)
{
	return keep(test, mock_fence(test, context, seqno));
}

static struct dma_fence *new_leaf(struct kunit *test)
{
	return leaf(test, dma_fence_context_alloc(1), 1);
}

static struct dma_fence *array_of(struct kunit *test, unsigned int count,
				  struct dma_fence **fences)
{
	struct dma_fence **copy = kmalloc_array(count, sizeof(*copy), GFP_KERNEL);
	struct dma_fence_array *array;
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, !!copy);
	for (i = 0; i < count; i++)
		copy[i] = dma_fence_get(fences[i]);
	array = dma_fence_array_create(count, copy, dma_fence_context_alloc(1), 1,
				       false);
	KUNIT_ASSERT_TRUE(test, !!array);
	return keep(test, &array->base);
}

static struct dma_fence *array2(struct kunit *test, struct dma_fence *a,
				struct dma_fence *b)
{
	struct dma_fence *fences[] = { a, b };

	return array_of(test, 2, fences);
}

static struct dma_fence *chain(struct kunit *test, struct dma_fence *prev,
			       struct dma_fence *fence, u64 seqno)
{
	struct dma_fence_chain *node = kzalloc(sizeof(*node), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!node);
	dma_fence_chain_init(node, dma_fence_get(prev), dma_fence_get(fence),
			     seqno);
	return keep(test, &node->base);
}

static void add(struct kunit *test, struct dma_fence *fence)
{
	struct leaves_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, dma_fence_leaves_add(&t->leaves, fence), 0);
}

/* Flattens, checks that no leaf is a container, and returns the number of leaves. */
static unsigned int flatten(struct kunit *test)
{
	struct leaves_test *t = test->priv;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, dma_fence_leaves_flatten(&t->leaves), 0);
	for (i = 0; i < t->leaves.count; i++) {
		struct dma_fence *f = t->leaves.fences[i];

		KUNIT_EXPECT_FALSE(test, dma_fence_is_array(f));
		KUNIT_EXPECT_TRUE(test, !to_dma_fence_chain(f));
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(f));
	}
	return t->leaves.count;
}

static bool has(struct kunit *test, struct dma_fence *fence)
{
	struct leaves_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < t->leaves.count; i++)
		if (t->leaves.fences[i] == fence)
			return true;
	return false;
}

static struct dma_fence *merged(struct kunit *test)
{
	struct leaves_test *t = test->priv;

	return keep(test, dma_fence_leaves_to_fence(&t->leaves));
}

static void empty_set_is_signaled_stub(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, flatten(test), 0U);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(merged(test)));
}

static void one_pending_fence_stays_bare(struct kunit *test)
{
	struct dma_fence *fence = new_leaf(test);

	add(test, fence);
	KUNIT_EXPECT_EQ(test, flatten(test), 1U);
	KUNIT_EXPECT_PTR_EQ(test, merged(test), fence);
}

static void one_signaled_fence_is_dropped(struct kunit *test)
{
	struct dma_fence *fence = new_leaf(test);

	add(test, fence);
	dma_fence_signal(fence);
	KUNIT_EXPECT_EQ(test, flatten(test), 0U);
}

static void one_fence_twice_counts_once(struct kunit *test)
{
	struct dma_fence *fence = new_leaf(test), *other = new_leaf(test);

	add(test, array2(test, other, fence));
	add(test, fence);
	add(test, array2(test, fence, other));
	KUNIT_EXPECT_EQ(test, flatten(test), 2U);
	KUNIT_EXPECT_TRUE(test, has(test, fence) && has(test, other));
}

/* The set does not judge whether the numbers of a context mean an order. */
static void fences_of_one_context_all_stay(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *first = leaf(test, context, 1);
	struct dma_fence *second = leaf(test, context, 2);

	add(test, chain(test, first, second, 1));
	add(test, array2(test, leaf(test, context, 3), first));
	KUNIT_EXPECT_EQ(test, flatten(test), 3U);
	KUNIT_EXPECT_TRUE(test, has(test, first) && has(test, second));
}

/* No driver should do this. If one does, neither fence replaces the other. */
static void two_fences_of_one_seqno_both_stay(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);

	add(test, leaf(test, context, 1));
	add(test, leaf(test, context, 1));
	KUNIT_EXPECT_EQ(test, flatten(test), 2U);
}

static void older_pending_stays_if_later_signaled(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *older = leaf(test, context, 1);
	struct dma_fence *later = leaf(test, context, 2);

	add(test, later);
	add(test, older);
	dma_fence_signal(later);
	KUNIT_EXPECT_EQ(test, flatten(test), 1U);
	KUNIT_EXPECT_TRUE(test, has(test, older));
}

static void array_is_unfolded(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test);

	add(test, array2(test, a, b));
	KUNIT_EXPECT_EQ(test, flatten(test), 2U);
	KUNIT_EXPECT_TRUE(test, has(test, a) && has(test, b));
}

static void signaled_leaves_of_an_array_are_dropped(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test);

	add(test, array2(test, a, b));
	dma_fence_signal(a);
	KUNIT_EXPECT_EQ(test, flatten(test), 1U);
	KUNIT_EXPECT_TRUE(test, has(test, b));
}

static void chain_is_unfolded(struct kunit *test)
{
	struct dma_fence *f[3], *head;

	f[0] = new_leaf(test);
	f[1] = new_leaf(test);
	f[2] = new_leaf(test);
	head = chain(test, NULL, f[0], 1);
	head = chain(test, head, f[1], 2);
	head = chain(test, head, f[2], 3);

	add(test, head);
	KUNIT_EXPECT_EQ(test, flatten(test), 3U);
	KUNIT_EXPECT_TRUE(test, has(test, f[0]) && has(test, f[1]) && has(test, f[2]));
}

static void chain_on_a_plain_fence_is_unfolded(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test);

	add(test, chain(test, a, b, 1));
	KUNIT_EXPECT_EQ(test, flatten(test), 2U);
	KUNIT_EXPECT_TRUE(test, has(test, a) && has(test, b));
}

static void signaled_links_of_a_chain_are_dropped(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test), *c = new_leaf(test);
	struct dma_fence *head;

	head = chain(test, NULL, a, 1);
	head = chain(test, head, b, 2);
	head = chain(test, head, c, 3);
	dma_fence_signal(b);
	add(test, head);
	KUNIT_EXPECT_EQ(test, flatten(test), 2U);
	KUNIT_EXPECT_TRUE(test, has(test, a) && has(test, c));
}

static void chain_in_array_is_unfolded(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test), *c = new_leaf(test);

	add(test, array2(test, chain(test, a, b, 1), c));
	KUNIT_EXPECT_EQ(test, flatten(test), 3U);
	KUNIT_EXPECT_TRUE(test, has(test, a) && has(test, b) && has(test, c));
}

static void array_in_chain_is_unfolded(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test), *c = new_leaf(test);

	add(test, chain(test, c, array2(test, a, b), 1));
	KUNIT_EXPECT_EQ(test, flatten(test), 3U);
	KUNIT_EXPECT_TRUE(test, has(test, a) && has(test, b) && has(test, c));
}

static void array_in_array_is_unfolded(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test), *c = new_leaf(test);

	add(test, array2(test, array2(test, a, b), c));
	KUNIT_EXPECT_EQ(test, flatten(test), 3U);
}

/* Each level contains the one below twice: 4,096 paths to two leaves. */
static void shared_containers_do_not_multiply(struct kunit *test)
{
	struct leaves_test *t = test->priv;
	struct dma_fence *level;
	unsigned int i;

	level = array2(test, new_leaf(test), new_leaf(test));
	for (i = 0; i < 12; i++)
		level = array2(test, chain(test, NULL, level, 1),
			       chain(test, NULL, level, 1));
	add(test, level);
	KUNIT_EXPECT_EQ(test, flatten(test), 2U);
	KUNIT_EXPECT_LE(test, t->leaves.max, 8U);
}

/* Both branches have the context of the node where they fork. */
static void forked_chain_keeps_both_branches(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test), *c = new_leaf(test);
	struct dma_fence *head = chain(test, NULL, a, 10);

	add(test, array2(test, chain(test, head, b, 11), chain(test, head, c, 12)));
	KUNIT_EXPECT_EQ(test, flatten(test), 3U);
	KUNIT_EXPECT_TRUE(test, has(test, a) && has(test, b) && has(test, c));
}

static void merged_fence_is_flat(struct kunit *test)
{
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test), *c = new_leaf(test);
	struct dma_fence_array *array;
	unsigned int i;

	add(test, array2(test, chain(test, a, b, 1), c));
	KUNIT_ASSERT_EQ(test, flatten(test), 3U);
	array = to_dma_fence_array(merged(test));
	KUNIT_ASSERT_TRUE(test, !!array);
	KUNIT_EXPECT_EQ(test, array->num_fences, 3U);
	for (i = 0; i < array->num_fences; i++) {
		KUNIT_EXPECT_FALSE(test, dma_fence_is_array(array->fences[i]));
		KUNIT_EXPECT_TRUE(test, !to_dma_fence_chain(array->fences[i]));
	}
	dma_fence_signal(a);
	dma_fence_signal(c);
	KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(&array->base));
	dma_fence_signal(b);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(&array->base));
}

static void a_thousand_leaves(struct kunit *test)
{
	struct leaves_test *t = test->priv;
	struct dma_fence *fence;
	unsigned int i;

	for (i = 0; i < 1000; i++)
		new_leaf(test);
	add(test, array_of(test, 1000, t->fences));
	KUNIT_ASSERT_EQ(test, flatten(test), 1000U);
	fence = merged(test);
	KUNIT_EXPECT_EQ(test, to_dma_fence_array(fence)->num_fences, 1000U);
	for (i = 0; i < 999; i++)
		dma_fence_signal(t->fences[i]);
	KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(fence));
	dma_fence_signal(t->fences[999]);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(fence));
}

static void references_are_returned(struct kunit *test)
{
	struct leaves_test *t = test->priv;
	struct dma_fence *a = new_leaf(test), *b = new_leaf(test);

	add(test, a);
	add(test, a);
	add(test, array2(test, a, b));
	flatten(test);
	dma_fence_leaves_fini(&t->leaves);
	/* The test's reference and the array's. */
	KUNIT_EXPECT_EQ(test, kref_read(&a->refcount), 2U);
	KUNIT_EXPECT_EQ(test, kref_read(&b->refcount), 2U);
}

static struct kunit_case dma_fence_leaves_cases[] = {
	KUNIT_CASE(empty_set_is_signaled_stub),
	KUNIT_CASE(one_pending_fence_stays_bare),
	KUNIT_CASE(one_signaled_fence_is_dropped),
	KUNIT_CASE(one_fence_twice_counts_once),
	KUNIT_CASE(fences_of_one_context_all_stay),
	KUNIT_CASE(two_fences_of_one_seqno_both_stay),
	KUNIT_CASE(older_pending_stays_if_later_signaled),
	KUNIT_CASE(array_is_unfolded),
	KUNIT_CASE(signaled_leaves_of_an_array_are_dropped),
	KUNIT_CASE(chain_is_unfolded),
	KUNIT_CASE(chain_on_a_plain_fence_is_unfolded),
	KUNIT_CASE(signaled_links_of_a_chain_are_dropped),
	KUNIT_CASE(chain_in_array_is_unfolded),
	KUNIT_CASE(array_in_chain_is_unfolded),
	KUNIT_CASE(array_in_array_is_unfolded),
	KUNIT_CASE(shared_containers_do_not_multiply),
	KUNIT_CASE(forked_chain_keeps_both_branches),
	KUNIT_CASE(merged_fence_is_flat),
	KUNIT_CASE(a_thousand_leaves),
	KUNIT_CASE(references_are_returned),
	{}
};

static struct kunit_suite dma_fence_leaves_suite = {
	.name = "dma_fence_leaves",
	.init = leaves_test_init,
	.exit = leaves_test_exit,
	.test_cases = dma_fence_leaves_cases,
};

kunit_test_suite(dma_fence_leaves_suite);

MODULE_LICENSE("GPL");
