// SPDX-License-Identifier: GPL-2.0
/* For scripts/coccinelle/free/dma_fence_kfree.cocci: releases of fences, right and wrong. */

static void bare_release(struct dma_fence *fence)
{
	kfree(fence);					/* reported */
}

static const struct dma_fence_ops bare_ops = {
	.get_driver_name = bare_name,
	.release = bare_release,
};

static void wrapped_release(struct dma_fence *fence)
{
	struct wrapped_fence *wrapped = container_of(fence, struct wrapped_fence, base);

	wrapped_put(wrapped->owner);
	kfree(wrapped);					/* reported */
}

static const struct dma_fence_ops wrapped_ops = {
	.release = wrapped_release,
	.get_driver_name = wrapped_name,
};

static void helped_release(struct dma_fence *f)
{
	struct helped_fence *helped = to_helped_fence(f);

	if (helped->timer)
		kfree(helped->timer);
	kfree(helped);					/* reported */
}

static const struct dma_fence_ops helped_ops = {
	.get_driver_name = helped_name,
	.release = helped_release,
};

/* Memory that a fence points to may be freed immediately. */
static void array_release(struct dma_fence *fence)
{
	struct array_fence *array = to_array_fence(fence);

	kfree(array->fences);
	dma_fence_free(fence);
}

static const struct dma_fence_ops array_ops = {
	.get_driver_name = array_name,
	.release = array_release,
};

static void delayed_release(struct dma_fence *fence)
{
	struct delayed_fence *delayed = to_delayed_fence(fence);

	kfree_rcu(delayed, base.rcu);
}

static const struct dma_fence_ops delayed_ops = {
	.get_driver_name = delayed_name,
	.release = delayed_release,
};

/* Not the release of a fence. */
static void unused_free(struct dma_fence *fence)
{
	kfree(fence);
}
