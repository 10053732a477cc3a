/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heat and skew of a guest as a picture, which is a table: a row for each heat, a column for each number of hot base pages, and
 * in each cell how many huge pages there are, as a number and as a shade.
 */
import { el } from "./dom.js";
import { count, percent } from "./format.js";
import { heat_picture, heat_summary, HEATS } from "./model.js";

const SHADES = 6; /* above none; by the square root, so that few among many are seen */

export function shade(n, most) {
    return n === 0 ? 0 : Math.max(1, Math.round(SHADES * Math.sqrt(n / most)));
}

/* One bar of all huge pages by their heat, with a pattern each beside the colour. */
function bar(report) {
    const total = Math.max(1, report.heat.hot + report.heat.warm + report.heat.cold + report.heat.undecided);
    return el("div", null,
              el("div.heat-bar", { "aria-hidden": "true" }, ...HEATS.filter(([key]) => report.heat[key] > 0).map(([key]) => {
                  const part = el(`div.heat-part.${key}`);
                  part.style.flexGrow = String(report.heat[key]);
                  return part;
              })),
              el("ul.legend", null, ...HEATS.map(([key, name, what]) =>
                  el("li", null, el(`span.key.${key}`, { "aria-hidden": "true" }), `${name} ${count(report.heat[key])} (${percent(report.heat[key], total)})`,
                     el("span.small", null, ` ${what}`)))));
}

export function heat_element(report) {
    const { columns, rows, most } = heat_picture(report);
    return el("div.heat", null,
              el("p", null, heat_summary(report)),
              bar(report),
              el("div.scroll", { tabindex: "0", role: "region", "aria-label": "Heat and hot base pages, as a table" },
                 el("table.matrix", null,
                    el("caption", null, "Huge pages by heat, and by how many of their 512 base pages are hot"),
                    el("thead", null, el("tr", null, el("td"), ...columns.map(c => el("th", { scope: "col" }, c)))),
                    el("tbody", null, ...rows.map(r => el("tr", null, el("th", { scope: "row" }, r.name),
                        ...r.cells.map(n => el(`td.shade-${shade(n, most)}`, null, n ? count(n) : el("span.none", null, "0")))))))));
}
