/*
 * Which memory of a process is guest memory, from /proc/PID/maps.
 *
 * A guest's RAM is one big private anonymous mapping when its VMM starts, but it need not stay one VMA: marking runs of
 * base pages mergeable cuts it into tens of thousands. So what counts is the stretch, not the VMA: neighbours that are
 * both private, anonymous, readable, writable and not executable are one stretch, whatever else their flags are.
 *
 * A VMM's small buffers may lie right beside its guest's RAM and make the stretch longer or shorter by a little while
 * the guest runs. Growth by less than the smallest guest is therefore no change of the regions; shrinking always is.
 */
#include "host_vma.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ---- */

static int read_all(int dir_fd, const char *name, char **out)
{
	size_t size = 65536, n = 0;
	char *text = malloc(size);
	int rc = 0, fd;

	if (!text)
		return -ENOMEM;
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	for (;;) {
		ssize_t got;

		if (size - n < 32768) {
			char *bigger = realloc(text, size * 2);

			if (!bigger) {
				rc = -ENOMEM;
				break;
			}
			text = bigger;
			size *= 2;
		}
		got = read(fd, text + n, size - n - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = -errno;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	/* A process that has left its address space has a file, but nothing in it. */
	if (!rc && !n)
		rc = -ESRCH;
out:
	if (rc == -ENOENT)
		rc = -ESRCH;
	if (rc) {
		free(text);
		return rc;
	}
	text[n] = '\0';
	*out = text;
	return 0;
}

int hs_vma_read(struct hs_vma_list *out, int dir_fd, const char *name)
{
	char *text;
	int rc = read_all(dir_fd, name, &text);

	if (rc) {
		*out = (struct hs_vma_list){ 0 };
		return rc;
	}
	return hs_vma_parse(out, text);
}

/* ---- parsing ---- */

static const char *parse_hex(const char *p, uint64_t *out)
{
	uint64_t v = 0;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uint64_t)(*p - 'a' + 10);
		else
			break;
	}
	*out = v;
	return p;
}

/* "start-end rwxp offset device inode      name"; false when the line is none of these. */
static bool parse_header(const char *line, const char *text, struct hs_vma *v)
{
	uint64_t inode = 0;
	const char *p;

	*v = (struct hs_vma){ 0 };
	p = parse_hex(line, &v->start);
	if (p == line || *p++ != '-')
		return false;
	p = parse_hex(p, &v->end);
	if (*p++ != ' ' || strlen(p) < 5)
		return false;
	v->flags = (p[0] == 'r' ? (uint32_t)HS_VMA_READ : 0) | (p[1] == 'w' ? (uint32_t)HS_VMA_WRITE : 0) |
		   (p[2] == 'x' ? (uint32_t)HS_VMA_EXEC : 0) | (p[3] == 's' ? (uint32_t)HS_VMA_SHARED : 0);
	p += 4;
	for (int field = 0; field < 3; field++) { /* offset, device, inode */
		p += strspn(p, " ");
		if (field == 2)
			inode = strtoull(p, NULL, 10);
		p += strcspn(p, " ");
	}
	p += strspn(p, " ");
	if (*p)
		v->name = (uint32_t)(p - text);
	/* "[anon:NAME]" is a name that the process gave to anonymous memory of its own; other brackets are special. */
	if (*p == '[' && strncmp(p, "[anon:", 6) != 0)
		v->flags |= HS_VMA_SPECIAL;
	else if (!inode && (!*p || *p == '['))
		v->flags |= HS_VMA_ANON;
	return true;
}

static uint32_t parse_vm_flags(const char *p)
{
	static const struct {
		char name[3];
		uint32_t flag;
	} known[] = {
		{ "dd", HS_VMA_DONTDUMP }, { "nh", HS_VMA_NOHUGE }, { "mg", HS_VMA_MERGEABLE }, { "ht", HS_VMA_HUGETLB }
	};
	uint32_t flags = 0;

	for (p += strspn(p, " "); p[0] && p[1]; p += 2, p += strspn(p, " "))
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (p[0] == known[i].name[0] && p[1] == known[i].name[1])
				flags |= known[i].flag;
	return flags;
}

int hs_vma_parse(struct hs_vma_list *out, char *text)
{
	size_t room = 0;

	*out = (struct hs_vma_list){ .text = text };
	for (char *line = text, *next; *line; line = next) {
		char *end = strchr(line, '\n');

		if (end)
			*end = '\0';
		next = end ? end + 1 : line + strlen(line);
		/* Headers begin with a lower-case hexadecimal digit, smaps' other lines with a capital letter. */
		if (*line >= 'A' && *line <= 'Z') {
			if (out->nr && !strncmp(line, "VmFlags:", 8))
				out->vma[out->nr - 1].flags |= parse_vm_flags(line + 8);
			continue;
		}
		if (out->nr == room) {
			size_t more = room ? room * 2 : 256;
			struct hs_vma *bigger = realloc(out->vma, more * sizeof(*bigger));

			if (!bigger) {
				hs_vma_finish(out);
				return -ENOMEM;
			}
			out->vma = bigger;
			room = more;
		}
		if (parse_header(line, text, &out->vma[out->nr]))
			out->nr++;
	}
	return 0;
}

void hs_vma_finish(struct hs_vma_list *l)
{
	free(l->vma);
	free(l->text);
	*l = (struct hs_vma_list){ 0 };
}

const char *hs_vma_name(const struct hs_vma_list *l, const struct hs_vma *v)
{
	return v->name ? l->text + v->name : "";
}

size_t hs_vma_above(const struct hs_vma_list *l, uint64_t addr)
{
	size_t low = 0, high = l->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->vma[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- regions ---- */

static bool is_guest_memory(const struct hs_vma *v)
{
	const uint32_t wanted = HS_VMA_READ | HS_VMA_WRITE | HS_VMA_ANON;

	/* Executable: the code that an emulator makes, up to a GiB of it. */
	return (v->flags & (wanted | HS_VMA_EXEC | HS_VMA_SHARED | HS_VMA_SPECIAL | HS_VMA_HUGETLB)) == wanted;
}

/* The next stretch of guest memory from VMA *i on; false at the end. *i is left behind it. */
static bool next_stretch(const struct hs_vma_list *l, size_t *i, uint64_t *start, uint64_t *end)
{
	while (*i < l->nr && !is_guest_memory(&l->vma[*i]))
		++*i;
	if (*i == l->nr)
		return false;
	*start = l->vma[*i].start;
	do {
		*end = l->vma[(*i)++].end;
	} while (*i < l->nr && l->vma[*i].start == *end && is_guest_memory(&l->vma[*i]));
	return true;
}

/* Why there is no guest memory: the biggest mapping that a person may have meant. */
static int explain_none(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_error *err)
{
	const struct hs_vma *biggest = NULL;
	uint64_t best = 0, start, end;
	const char *name;

	for (size_t i = 0; i < l->nr; i++) {
		const struct hs_vma *v = &l->vma[i];
		bool candidate = (v->flags & HS_VMA_WRITE) && !is_guest_memory(v);

		if (candidate && v->end - v->start >= min_bytes &&
		    (!biggest || v->end - v->start > biggest->end - biggest->start))
			biggest = v;
	}
	for (size_t i = 0; next_stretch(l, &i, &start, &end);)
		best = end - start > best ? end - start : best;
	if (!biggest)
		return hs_error_set(
		    err, -ENODATA,
		    "no guest memory: the biggest private anonymous mapping has %llu KiB, too small for a "
		    "guest (at least %llu KiB are asked for)",
		    (unsigned long long)best >> 10, (unsigned long long)min_bytes >> 10);
	name = hs_vma_name(l, biggest);
	if ((biggest->flags & HS_VMA_HUGETLB) || strstr(name, "hugepages") || strstr(name, "anon_hugepage"))
		return hs_error_set(
		    err, -EMEDIUMTYPE,
		    "its memory is hugetlbfs (%llu MiB%s%s), which the kernel cannot share page by page: "
		    "back the guest with ordinary memory and transparent huge pages",
		    (unsigned long long)(biggest->end - biggest->start) >> 20, *name ? ", " : "", name);
	if (biggest->flags & HS_VMA_SHARED)
		return hs_error_set(
		    err, -EMEDIUMTYPE,
		    "its memory is shared memory (%llu MiB, %s), which KSM cannot merge: start the guest "
		    "without a memfd or shared memory backend (libvirt: no <access mode='shared'/>)",
		    (unsigned long long)(biggest->end - biggest->start) >> 20, *name ? name : "memfd");
	return hs_error_set(err, -EMEDIUMTYPE,
			    "its memory is a private mapping of a file (%llu MiB, %s), not anonymous memory: start the "
			    "guest without a memory file",
			    (unsigned long long)(biggest->end - biggest->start) >> 20, *name ? name : "unnamed");
}

int hs_vma_regions(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_region **out, size_t *nr,
		   uint32_t *nr_huge, struct hs_error *err)
{
	struct hs_region *regions = NULL;
	uint64_t start, end, total = 0;
	size_t n = 0;

	for (size_t i = 0; next_stretch(l, &i, &start, &end);) {
		struct hs_region *bigger;
		uint64_t first = (start + HS_HUGE_SIZE - 1) & ~(HS_HUGE_SIZE - 1);
		uint64_t last = end & ~(HS_HUGE_SIZE - 1);

		if (end - start < min_bytes || last <= first)
			continue;
		if (total + ((last - first) >> HS_HUGE_SHIFT) > UINT32_MAX / HS_BASE_PER_HUGE)
			break; /* 16 TiB: base pages have numbers of 32 bits */
		bigger = realloc(regions, (n + 1) * sizeof(*regions));
		if (!bigger) {
			free(regions);
			return hs_error_set(err, -ENOMEM, "no memory for the list of guest memory");
		}
		regions = bigger;
		regions[n] = (struct hs_region){ .hva = { first },
						 .gpa = { n ? first - regions[0].hva.v : 0 },
						 .first_huge = (hs_huge_nr)total,
						 .nr_huge = (uint32_t)((last - first) >> HS_HUGE_SHIFT) };
		total += regions[n++].nr_huge;
	}
	if (!n)
		return explain_none(l, min_bytes, err);
	*out = regions;
	*nr = n;
	*nr_huge = (uint32_t)total;
	return 0;
}

/* ---- comparing ---- */

/* Of a stretch's whole huge pages, what lies in no region: in bytes. */
static uint64_t bytes_outside(uint64_t start, uint64_t end, const struct hs_region *regions, size_t nr)
{
	uint64_t outside;

	start = (start + HS_HUGE_SIZE - 1) & ~(HS_HUGE_SIZE - 1);
	end &= ~(HS_HUGE_SIZE - 1);
	outside = start < end ? end - start : 0;
	for (size_t r = 0; r < nr; r++) {
		uint64_t a = regions[r].hva.v, b = a + regions[r].nr_huge * HS_HUGE_SIZE;

		a = a > start ? a : start;
		b = b < end ? b : end;
		if (a < b)
			outside -= b - a;
	}
	return outside;
}

bool hs_vma_compare(const struct hs_vma_list *l, uint64_t min_bytes, const struct hs_region *regions, size_t nr,
		    hs_vma_gone_fn gone, void *ctx)
{
	uint64_t start = 0, end = 0;
	bool changed = false, more;
	size_t i = 0, r = 0;
	uint32_t h = 0; /* huge page of region r */

	more = next_stretch(l, &i, &start, &end);
	if (more)
		changed = bytes_outside(start, end, regions, nr) >= min_bytes;
	while (r < nr) {
		uint64_t hva = regions[r].hva.v + h * HS_HUGE_SIZE;
		bool is_gone;

		if (more && end < hva + HS_HUGE_SIZE) {
			more = next_stretch(l, &i, &start, &end);
			if (more)
				changed |= bytes_outside(start, end, regions, nr) >= min_bytes;
			continue;
		}
		is_gone = !more || start > hva;
		changed |= is_gone;
		gone(ctx, regions[r].first_huge + h, is_gone);
		if (++h == regions[r].nr_huge) {
			h = 0;
			r++;
		}
	}
	while (more && next_stretch(l, &i, &start, &end))
		changed |= bytes_outside(start, end, regions, nr) >= min_bytes;
	return changed;
}
