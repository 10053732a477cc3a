/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: what was asked for, what is so, what it saves, and what it costs.
 *
 * Metadata. ksmd keeps an rmap item for each page that it has looked at (counted by the kernel for each process, since
 * 6.1) and a stable node for each shared frame; a VMA for each further piece. Their sizes come from /proc/slabinfo;
 * where the kernel has thrown a cache together with another of its size it is not named there, and the size is that of
 * the structure in the kernel's source: both of KSM's are one cache line of 64 bytes on 64-bit machines (struct
 * ksm_rmap_item, struct ksm_stable_node in mm/ksm.c), a VMA is up to four.
 */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "engine_internal.h"

#define RMAP_ITEM_BYTES   64
#define STABLE_NODE_BYTES 64
#define VMA_BYTES         256

void hs_engine_read_sizes(const struct hs_host *host, struct hs_engine_sizes *out)
{
	struct {
		const char *name, *old_name;
		uint64_t *size;
	} const caches[] = {
		{ "ksm_rmap_item", "ksm_rmap_item", &out->rmap_item },
		{ "ksm_stable_node", "ksm_stable_node", &out->stable_node },
		{ "vm_area_struct", "vm_area", &out->vma },
	};
	char path[PATH_MAX], line[256], name[64];
	uint64_t size;
	FILE *f;

	*out = (struct hs_engine_sizes){ RMAP_ITEM_BYTES, STABLE_NODE_BYTES, VMA_BYTES };
	(void)snprintf(path, sizeof(path), "%s/slabinfo", host->proc_dir);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %*u %*u %" SCNu64, name, &size) != 2 || !size)
			continue;
		for (size_t i = 0; i < sizeof(caches) / sizeof(caches[0]); i++)
			if (!strcmp(name, caches[i].name) || !strcmp(name, caches[i].old_name))
				*caches[i].size = size;
	}
	(void)fclose(f);
}

static uint64_t whole_frames(uint64_t parts)
{
	return (parts + (UINT64_C(1) << (HS_ENGINE_PART_BITS - 1))) >> HS_ENGINE_PART_BITS;
}

/* `before`: frame parts of the guests before this one, so that the rounded frames of all add up. */
static void add_guest(const struct hs_share *s, const struct hs_engine_guest *g, uint64_t before, struct hs_ledger *out)
{
	const struct hs_engine_sums *sums = &g->sums;
	uint64_t frames = whole_frames(before + sums->frame_parts) - whole_frames(before);
	uint64_t marked = hs_engine_marked(g);
	uint64_t items = sums->rmap_items == UINT64_MAX ? marked : sums->rmap_items;

	for (hs_huge_nr h = 0; h < g->nr_huge; h++)
		out->wanted += hs_bits_count(&g->huge[h].wanted);
	out->marked += marked;
	out->shared += sums->shared;
	out->zero += sums->zero;
	out->frames += frames;
	out->single += sums->single;
	out->broken += g->broken;
	out->saved_bytes += (sums->shared - frames + sums->zero) * HS_BASE_SIZE;
	out->metadata_bytes += items * s->sizes.rmap_item + (frames + sums->single) * s->sizes.stable_node +
			       g->nr_vmas * s->sizes.vma + g->nr_huge * sizeof(*g->huge) + sizeof(*g);
}

void hs_share_ledger(const struct hs_share *s, uint32_t id, struct hs_ledger *out)
{
	uint64_t before = 0;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		const struct hs_engine_guest *g = &s->guests[i];

		/* A guest that is gone saves nothing any more. */
		if (!g->used || g->gone)
			continue;
		if (id == UINT32_MAX || id == i)
			add_guest(s, g, before, out);
		before += g->sums.frame_parts;
	}
	if (id == UINT32_MAX)
		out->group_conflicts = s->group_conflicts;
	out->net_saved_bytes = (int64_t)out->saved_bytes - (int64_t)out->metadata_bytes;
}
