/* SPDX-License-Identifier: Apache-2.0 */
/* The cards at the top: saved, could be saved, overcommit, hot huge pages, and what the service is busy with. */
import { el, fresh_id, terms, text } from "./dom.js";
import { bytes, count, duration, percent, range } from "./format.js";
import * as model from "./model.js";

function card(title, ...body) {
    return card_of("article.card", title, ...body);
}

function card_of(name, title, ...body) {
    const id = fresh_id("card");
    return el(name, { "aria-labelledby": id }, el("h2", { id }, title), ...body);
}

/* A bar of a whole, with what it shows as its text: the value is never in the colour alone. */
function meter(label) {
    const fill = el("div.meter-fill");
    const element = el("div.meter", { role: "meter", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0" }, fill);
    return {
        element,
        set(part, whole, kind, words) {
            const share = whole > 0 ? Math.min(100, 100 * part / whole) : 0;
            fill.style.width = `${share}%`;
            fill.dataset.kind = kind;
            element.setAttribute("aria-valuenow", String(Math.round(share)));
            element.setAttribute("aria-valuetext", words);
        },
    };
}

export class Overview {
    constructor(place, on_look) {
        this.net = el("p.figure", { "data-figure": "net" });
        this.net_more = el("p.small");
        this.net_list = el("dl.terms");
        this.could = el("p.figure", { "data-figure": "could" });
        this.could_more = el("p.small");
        this.parts = el("tbody");
        this.look_button = el("button.button", { type: "button", onclick: on_look }, "Look into hot huge pages\u2026");
        this.look_state = el("p.small", { role: "status" });
        this.overcommit = el("p.figure", { "data-figure": "overcommit" });
        this.overcommit_meter = meter("Overcommit, of what is available");
        this.overcommit_more = el("p.small");
        this.overcommit_list = el("dl.terms");
        this.whole = el("p.figure", { "data-figure": "whole" });
        this.whole_meter = meter("Hot huge pages still whole");
        this.whole_more = el("p.small");
        this.whole_list = el("dl.terms");
        this.busy_list = el("dl.terms");
        place.append(
            card("Net saved", this.net, this.net_more, this.net_list),
            card("Could be saved", this.could, this.could_more,
                 el("table.parts", null,
                    el("caption.for-readers", null, "What could be saved, by where it is found"),
                    el("thead", null, el("tr", null, el("th", { scope: "col" }, "Found"), el("th", { scope: "col" }, "Saves"))), this.parts),
                 this.look_button, this.look_state),
            card("Overcommit", this.overcommit, this.overcommit_meter.element, this.overcommit_more, this.overcommit_list),
            card("Hot huge pages still whole", this.whole, this.whole_meter.element, this.whole_more, this.whole_list),
            card_of("article.card.across", "The service", this.busy_list));
    }

    status(s) {
        const unknown = model.saving_unknown(s);
        const overcommit = model.overcommit(s);
        const l = s.totals?.ledger;

        text(this.net, unknown ? "Nothing" : bytes(s.saving.net_saved_bytes));
        text(this.net_more, unknown || "by the kernel\u2019s page tables, less what the records of it cost");
        terms(this.net_list, [
            ["Saved, gross", unknown ? "\u2013" : bytes(s.saving.saved_bytes)],
            ["Costs of it", l && !unknown ? bytes(l.metadata_bytes) : "\u2013"],
            ["Guests that share", `${count(s.guests.sharing)} of ${count(s.guests.opted_in)} opted in, ${count(s.guests.known)} known`],
        ]);
        text(this.could, range(s.saving.could_save_bytes, s.saving.could_save_at_most_bytes));
        text(this.could_more, s.saving.could_save_at_most_bytes > s.saving.could_save_bytes
            ? "from what was looked at, to what hot huge pages promise"
            : "by what was looked at; hot huge pages promise no more");

        text(this.overcommit, bytes(overcommit.bytes));
        this.overcommit_meter.set(overcommit.bytes, overcommit.available, overcommit.fits ? "good" : "danger", `${bytes(overcommit.bytes)} of ${bytes(overcommit.available)} available`);
        text(this.overcommit_more, overcommit.fits ? `to end all sharing at once. ${overcommit.text}` : "to end all sharing at once: more than is available");
        terms(this.overcommit_list, [
            ["Available", `${bytes(overcommit.available)} of ${bytes(overcommit.total)}`],
            ["Limit", overcommit.max ? bytes(overcommit.max) : "no limit"],
            ["Waiting for memory", s.memory.psi_some_avg10 < 0 ? "the kernel does not say" : `${s.memory.psi_some_avg10.toFixed(1)} % of 10 s`],
        ]);
        terms(this.busy_list, [
            ["Version", s.version],
            ["Runs for", duration(s.uptime_ms)],
            ["Does now", `${s.scan.stage}, cycle ${count(s.scan.cycles)}`],
            ["Last cycle took", duration(s.scan.last_cycle_ms)],
            ["Processor time", `${s.process.cpu_seconds.toFixed(1)} s, ksmd ${(s.totals?.ksmd_cpu_seconds || 0).toFixed(1)} s`],
            ["Own memory", bytes(s.process.rss_bytes)],
            ["libvirt", s.libvirt.configured ? (s.libvirt.connected ? "connected" : "not connected") : "not configured"],
        ]);
    }

    guests(list) {
        const hot = model.sum(list, "hot_huge_pages");
        const whole = model.sum(list, "hot_huge_pages_still_huge");
        text(this.whole, hot ? `${count(whole)} of ${count(hot)}` : "None is hot");
        this.whole_meter.set(whole, hot, "good", hot ? `${whole} of ${hot}` : "none is hot");
        text(this.whole_more, hot ? `${percent(whole, hot)}; the others are hot in few of their base pages, or were not mapped huge` : "as far as guests were looked at");
        terms(this.whole_list, [
            ["Cold huge pages", count(model.sum(list, "cold_huge_pages"))],
            ["All huge pages", `${count(model.sum(list, "huge_pages"))} (${bytes(model.sum(list, "memory_bytes"))})`],
        ]);
    }

    report(r) {
        this.parts.replaceChildren(...model.parts(r.saving).map(p =>
            el("tr", { "data-part": p.name.toLowerCase() }, el("th", { scope: "row" }, el("strong", null, p.name), el("span.small", null, ` ${p.what}`)),
               el("td", null, range(p.sure, p.at_most)))));
    }

    look(l) {
        this.look_button.disabled = l.state === "under way";
        text(this.look_state, {
            none: "",
            "under way": "Hot huge pages are being looked into\u2026",
            done: l.report ? `The last look found ${range(l.report.could_save_bytes, l.report.could_save_at_most_bytes)}.` : "",
            failed: `The last look failed: ${l.message}`,
        }[l.state] ?? "");
    }
}

