/* SPDX-License-Identifier: Apache-2.0 */
/* The table of guests, each with its state, the reason and the way out; and what is known of one that is opened. */
import { attribute, el, fresh_id, keyed, prose, terms, text } from "./dom.js";
import { bytes, count, range, several } from "./format.js";
import { heat_element } from "./heat.js";
import * as model from "./model.js";

const COLUMNS = ["Guest", "State", "Why, and the way out", "Group", "Saved", "Could be saved", "Hot, whole", "Actions"];
const AT_ONCE = 100;

function chip(name) {
    const state = model.STATES[name] || { sign: "?", kind: "plain" };
    return el(`span.chip.${state.kind}`, null, el("span", { "aria-hidden": "true" }, state.sign), ` ${name}`);
}

function cell(label, ...children) {
    return el("td", { role: "cell", "data-label": label }, ...children);
}

function facts(g, r) {
    const l = r.ledger;
    const rows = [
        ["Process", g.pid ? String(g.pid) : "not running"],
        ["Memory under view", `${bytes(r.memory_bytes)}, by its ${r.view}`],
        ["Left out", `${bytes(Object.values(r.left_out).reduce((a, b) => a + b, 0))} of other memory`],
        ["Limit", g.max_shared_bytes ? bytes(g.max_shared_bytes) : "none"],
        ["Shares", model.SCOPES.find(([s]) => s === g.share)?.[1] || g.share],
        ["Opted in by", g.rule ? `the rule \u201c${g.rule}\u201d` : g.opted_in ? "request" : "nobody"],
        ["Mapped", `huge ${count(r.huge_pages.mapped_huge)}, split ${count(r.huge_pages.mapped_split)}, absent ${count(r.huge_pages.absent)}, ` +
                   `unknown ${count(r.huge_pages.unknown)}${r.huge_pages.unknown_reason !== "none" ? ` (${r.huge_pages.unknown_reason})` : ""}`],
        ["Content", `${several(r.content.known_pages, "base page")} known: ${count(r.content.zero_pages)} zero, ` +
                    `${count(r.content.duplicate_pages)} duplicate, ${count(r.content.cold_identical_pages)} cold and identical`],
        ["Shared", `${several(l.shared_pages, "base page")} on ${several(l.frames, "frame")}, ${count(l.zero_pages)} zero; ` +
                   `${count(l.broken_pages)} were written to again`],
        ["Net saved", bytes(l.net_saved_bytes)],
        ["Stopped for calls", `${several(r.calls_in_guest.sessions, "time")}, the longest ${(r.calls_in_guest.longest_stop_us / 1000).toFixed(1)} ms`],
    ];
    if (r.pages_pending)
        rows.push(["Pending", `${several(r.pages_pending, "base page")} that are to be shared no more stay so: ${r.pending_reason}`]);
    if (r.pages_without_vma)
        rows.push(["Left unshared", `${several(r.pages_without_vma, "base page")}, to keep the number of mappings low`]);
    return rows;
}

class Detail {
    constructor(id, labelled_by) {
        this.id = id;
        this.message = el("p.small", { role: "status" }, "Asking the service\u2026");
        this.picture = el("div");
        this.facts = el("dl.terms.wide");
        this.parts = el("dl.terms.wide");
        this.decisions = el("dl.terms.wide");
        this.body = el("div.detail-body", { hidden: true },
                       el("section", null, el("h3", null, "Heat and skew"), this.picture),
                       el("div.detail-columns", null,
                          el("section", null, el("h3", null, "What is known"), this.facts),
                          el("section", null, el("h3", null, "What could be saved of it"), this.parts,
                             el("h3", null, "What was decided, huge pages"), this.decisions)));
        this.element = el("div.detail", { role: "region", "aria-labelledby": labelled_by }, this.message, this.body);
    }

    show(answer) {
        const report = answer.data?.report;
        this.body.hidden = !report;
        if (!report) {
            text(this.message, answer.status === 200 ? "It has not been looked at yet: a first cycle takes some ten seconds." : answer.message);
            return;
        }
        text(this.message, "");
        const drawn = JSON.stringify([report.heat, report.huge_pages, report.hot_base_pages_by_heat]);
        if (drawn !== this.drawn) {
            this.drawn = drawn;
            const at = this.picture.querySelector(".scroll");
            const focused = at && at === document.activeElement;
            const left = at?.scrollLeft;
            this.picture.replaceChildren(heat_element(report));
            const now = this.picture.querySelector(".scroll");
            if (left)
                now.scrollLeft = left;
            if (focused)
                now.focus({ preventScroll: true });
        }
        terms(this.facts, facts(answer.data, report));
        terms(this.parts, model.parts(report.saving).map(p => [`${p.name}: ${p.what}`, range(p.sure, p.at_most)]));
        const decided = model.decisions(report);
        terms(this.decisions, decided.length ? decided.map(([why, n]) => [why, count(n)]) : [["nothing yet", "\u2013"]]);
    }
}

export class Guests {
    /* act(what, guest): what is "opt-in", "opt-out" or "unshare". on_open(): a guest was opened, its detail is wanted. */
    constructor(place, shown, filter, act, on_open) {
        this.shown = shown;
        this.act = act;
        this.on_open = on_open;
        this.rows = new Map();
        this.open = new Map();
        this.list = [];
        this.limit = AT_ONCE;
        this.body = el("tbody", { role: "rowgroup" });
        this.more = el("button.button", { type: "button", hidden: true, onclick: () => { this.limit += AT_ONCE; this.render(); } }, "Show more");
        /* The roles are said, since a phone's layout would take them away. */
        this.table = el("table.guests", { role: "table" },
                        el("caption.for-readers", null, "Guests"),
                        el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...COLUMNS.map(c => el("th", { scope: "col", role: "columnheader" }, c)))),
                        this.body);
        this.empty = el("p", { hidden: true });
        place.append(this.table, this.empty, this.more);
        this.filter = filter;
        filter.addEventListener("input", () => { this.limit = AT_ONCE; this.render(); });
    }

    update(list) {
        this.list = list;
        this.render();
    }

    wanted() {
        const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
        return this.list.filter(g => {
            const all = `${g.id} ${g.uuid} ${g.group} ${g.state} ${g.reason} ${g.source}`.toLowerCase();
            return words.every(w => all.includes(w));
        });
    }

    render() {
        const found = this.wanted();
        const seen = found.slice(0, this.limit);
        const by_id = new Map(seen.map(g => [g.id, g]));

        for (const id of [...this.open.keys()]) {
            if (!by_id.has(id))
                this.open.delete(id);
        }
        keyed(this.body, this.rows, seen.map(g => g.id), id => this.make_row(by_id.get(id)));
        for (const g of seen)
            this.rows.get(g.id).update(g);
        this.table.hidden = seen.length === 0;
        this.empty.hidden = seen.length !== 0;
        text(this.empty, this.list.length
            ? "No guest fits the filter."
            : "No guest is known yet. libvirt\u2019s domains come by themselves where libvirt is configured; other processes are opted in by their process id.");
        text(this.shown, seen.length === this.list.length ? several(seen.length, "guest") : `${count(seen.length)} of ${several(this.list.length, "guest")}`);
        this.more.hidden = found.length <= seen.length;
    }

    make_row(first) {
        let g = first;
        const name_id = fresh_id("guest");
        const detail_id = fresh_id("detail");
        const name = el("button.link", { type: "button", id: name_id, "aria-expanded": "false", "aria-controls": detail_id, onclick: () => toggle() });
        const sub = el("span.small");
        const state = cell("State");
        const words = el("span");
        const why = cell("Why, and the way out", words);
        const group = cell("Group");
        const saved = cell("Saved");
        const could = cell("Could be saved");
        const hot = cell("Hot, whole");
        const opt_in = el("button.button.small-button", { type: "button", onclick: () => this.act("opt-in", g) });
        const opt_out = el("button.button.small-button", { type: "button", onclick: () => this.act("opt-out", g) }, "Opt out\u2026");
        const row = el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader" }, name, el("br"), sub), state, why, group, saved, could, hot,
                       cell("Actions", el("div.row-actions", null, opt_in, opt_out)));
        const detail_cell = el("td", { role: "cell", colspan: String(COLUMNS.length) });
        const detail_row = el("tr.detail-row", { role: "row", id: detail_id, hidden: true }, detail_cell);
        const toggle = () => {
            const opening = detail_row.hidden;
            detail_row.hidden = !opening;
            name.setAttribute("aria-expanded", String(opening));
            if (opening) {
                const detail = new Detail(g.id, name_id);
                detail_cell.replaceChildren(detail.element);
                this.open.set(g.id, detail);
                this.on_open(g.id);
            } else {
                this.open.delete(g.id);
            }
        };
        let drawn = "";

        attribute(row, "data-guest", g.id);
        return {
            elements: [row, detail_row],
            update(now) {
                g = now;
                if (drawn === JSON.stringify(now))
                    return;
                drawn = JSON.stringify(now);
                text(name, g.id);
                text(sub, `${g.source === "libvirt" ? "libvirt domain" : "process"}${g.pid ? ` ${g.pid}` : ""}, ${bytes(g.memory_bytes)}`);
                if (state.dataset.state !== g.state) {
                    state.dataset.state = g.state;
                    state.replaceChildren(chip(g.state));
                }
                prose(words, g.reason === "none" ? "Nothing stands in the way." : g.reason_text || g.reason);
                attribute(why, "data-reason", g.reason);
                text(group, g.opted_in ? g.group : "\u2013");
                text(saved, g.saved_bytes ? `${bytes(g.saved_bytes)}, net ${bytes(g.net_saved_bytes)}` : "\u2013");
                text(could, g.could_save_at_most_bytes ? range(g.could_save_bytes, g.could_save_at_most_bytes) : "\u2013");
                text(hot, g.hot_huge_pages ? `${count(g.hot_huge_pages_still_huge)} of ${count(g.hot_huge_pages)}` : "\u2013");
                text(opt_in, g.opted_in ? "Change\u2026" : "Opt in\u2026");
                attribute(opt_in, "aria-label", g.opted_in ? `Change what ${g.id} may share` : `Opt in ${g.id}`);
                attribute(opt_out, "aria-label", `Opt out ${g.id}`);
                if (!g.opted_in && opt_out === document.activeElement)
                    opt_in.focus({ preventScroll: true });
                opt_out.hidden = !g.opted_in;
            },
        };
    }
}
