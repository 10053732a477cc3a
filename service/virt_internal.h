/* What the files of libvirt's thread share. */
#ifndef SERVICE_VIRT_INTERNAL_H
#define SERVICE_VIRT_INTERNAL_H

#include <libvirt/libvirt.h>

#include "virt.h"

/* ---- virt_domain.c ---- */

/*
 * All that libvirt, and the process itself, say of a domain. -ENOENT: it is neither running nor defined any more; -EIO:
 * libvirt failed (text in err).
 */
HS_MUST_USE int hs_virt_read_domain(virDomainPtr dom, const struct hs_virt_config *cfg, struct hs_virt_domain *out,
				    struct hs_error *err);

/* The obstacle that a domain's XML shows; NONE: none, or the XML cannot be read (then the memory itself will tell). */
enum hs_reason hs_virt_obstacle(const char *xml, char text[256]);

#endif
