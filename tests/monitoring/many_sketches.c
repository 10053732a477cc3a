/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet of 4,000 guests on 100 hosts as Prometheus would have it, in OpenMetrics: each guest holds 300 of the 500
 * contents of its family, drawn at random, and 100 of its own. Once with one guest of each of the 40 families on each
 * host (cluster="scattered"), once with families kept together (cluster="packed"). usage: hs-many-sketches UNIX_TIME
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "hs/sketch.h"

#define NR_GUESTS  4000
#define NR_FAMILY  40
#define ON_A_HOST  40
#define FAMILY_OF  500
#define OF_FAMILY  300
#define OF_ITS_OWN 100

static struct hs_sketch sketches[NR_GUESTS];

static void make(const struct hs_sketch_key *key)
{
	uint64_t seed = 1;

	for (uint64_t g = 0; g < NR_GUESTS; g++) {
		struct hs_sketch_builder b;
		uint16_t left[FAMILY_OF];

		for (uint16_t i = 0; i < FAMILY_OF; i++)
			left[i] = i;
		hs_sketch_begin(&b);
		for (uint64_t i = 0; i < OF_FAMILY; i++) {
			uint64_t pick;

			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			pick = i + (seed >> 33) % (FAMILY_OF - i);
			hs_sketch_put(&b, hs_sketch_hash(key, g % NR_FAMILY * FAMILY_OF + left[pick]));
			left[pick] = left[i];
		}
		for (uint64_t i = 0; i < OF_ITS_OWN; i++)
			hs_sketch_put(&b, hs_sketch_hash(key, (g + 1) * 1000000 + i));
		hs_sketch_end(&b, &sketches[g]);
	}
}

static uint64_t host_of(uint64_t g, bool packed)
{
	return packed ? (g % NR_FAMILY * (NR_GUESTS / NR_FAMILY) + g / NR_FAMILY) / ON_A_HOST : g / ON_A_HOST;
}

/* Labels of a guest, in both clusters. */
#define OF_GUEST(g, packed)                                                                                            \
	host_of(g, packed), (packed) ? "packed" : "scattered", (uint64_t)((g) % NR_FAMILY), (uint64_t)((g) / NR_FAMILY)
#define LABELS "instance=\"host%" PRIu64 "\",cluster=\"%s\",group=\"web\",guest=\"family%" PRIu64 "-%" PRIu64 "\""

int main(int argc, char **argv)
{
	const char *when = argc > 1 ? argv[1] : "0";
	struct hs_fleet_key fleet = { { 5 } };
	struct hs_sketch_key key;

	hs_sketch_group_key(&fleet, "web", &key);
	make(&key);
	for (int family = 0; family < 2; family++) {
		(void)printf("# TYPE %s info\n", family ? "hs_share_sketch_key" : "hs_share_build");
		for (uint64_t h = 0; h < 2 * NR_GUESTS / ON_A_HOST; h++)
			(void)printf("%s{instance=\"host%" PRIu64 "\",cluster=\"%s\",%s} 1 %s\n",
				     family ? "hs_share_sketch_key_info" : "hs_share_build_info", h / 2,
				     h % 2 ? "packed" : "scattered", family ? "key=\"k\"" : "version=\"9\"", when);
	}
	(void)puts("# TYPE hs_share_sketch_contents gauge");
	for (uint64_t g = 0; g < 2 * NR_GUESTS; g++)
		(void)printf("hs_share_sketch_contents{" LABELS "} %.0f %s\n", OF_GUEST(g / 2, g % 2),
			     sketches[g / 2].contents, when);
	(void)puts("# TYPE hs_share_sketch_slot gauge");
	for (uint64_t g = 0; g < 2 * NR_GUESTS; g++)
		for (size_t i = 0; i < HS_SKETCH_SLOTS; i++)
			if (sketches[g / 2].slot[i] != HS_SKETCH_EMPTY)
				(void)printf("hs_share_sketch_slot{" LABELS ",slot=\"%zu\"} %" PRIu64 " %s\n",
					     OF_GUEST(g / 2, g % 2), i, sketches[g / 2].slot[i], when);
	return puts("# EOF") < 0 || fflush(stdout) ? 1 : 0;
}
