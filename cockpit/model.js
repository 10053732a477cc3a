/* SPDX-License-Identifier: Apache-2.0 */
/* What the service's answers mean, in words and in numbers to draw. Pure functions: no element, no request. */
import { bytes, count, duration, percent, range, several } from "./format.js";

export const MODES = ["off", "observe", "save", "auto"];
export const SCOPES = [
    ["group", "with its trust group"],
    ["guest", "within itself alone"],
    ["zero", "pages of zeros alone, nothing is compared"],
];
export const GROUP_PATTERN = "[A-Za-z0-9._\\-]{1,63}";
const SILENT_MS = 60000; /* asleep, the scan gives a sign of life every 5 s */

/* How each state of a guest is marked: by a sign and a word beside the colour. */
export const STATES = {
    sharing: { sign: "\u2713", kind: "good" },
    observed: { sign: "\u25c9", kind: "info" },
    waiting: { sign: "\u2026", kind: "info" },
    leaving: { sign: "\u21a9", kind: "info" },
    refused: { sign: "!", kind: "warning" },
    "not opted in": { sign: "\u2212", kind: "plain" },
    "not running": { sign: "\u25a1", kind: "plain" },
};
export const LEVELS = {
    ok: { sign: "\u2713", kind: "good", word: "fine" },
    note: { sign: "i", kind: "info", word: "note" },
    warning: { sign: "!", kind: "warning", word: "warning" },
    obstacle: { sign: "\u2715", kind: "danger", word: "obstacle" },
};

/* What stands at the top of the page: [{ kind, title, text }], the worst first. */
export function notices(status) {
    const out = [];
    const down = (status.libvirt?.connections || []).filter(c => !c.connected);

    if (status.trouble)
        out.push({ kind: "danger", title: "Nothing is shared on this host", text: status.trouble });
    if (status.undo_pending)
        out.push({ kind: "warning", title: "Some sharing could not be undone yet", text: status.undo_pending });
    if (status.scan?.silent_ms > SILENT_MS) {
        out.push({ kind: "warning", title: "The scan gives no sign of life",
                   text: `Nothing was heard of it for ${duration(status.scan.silent_ms)}, in the stage \u201c${status.scan.stage}\u201d.` });
    }
    for (const c of down)
        out.push({ kind: "warning", title: `libvirt is not connected: ${c.uri}`, text: c.text });
    if (status.overcommit?.limit_reached) {
        out.push({ kind: "warning", title: "A limit of the overcommit is reached",
                   text: "Nothing further is shared of some guest, since ending all sharing at once would take more memory than is allowed. What is shared stays." });
    }
    if (!status.ksm_taken && status.kept?.bytes > 0) {
        out.push({ kind: "info", title: "Memory stays shared that no mode follows",
                   text: `${bytes(status.kept.bytes)} in ${several(status.kept.processes, "process", "processes")} ` +
                         "stay shared from before. Ending that takes as much memory." });
    }
    return out;
}

/* Why no saving is shown, or null where it is known. */
export function saving_unknown(status) {
    if (status.ksm_taken || status.saving.saved_bytes > 0)
        return null;
    if (status.effective === "save")
        return "Not known yet: the service has not taken KSM.";
    return `Nothing is shared in mode ${status.effective}.`;
}

/* Of a Saving: [{ name, what, sure, at_most }], zero, within and across; both figures in bytes. */
export function parts(saving) {
    return [
        ["Zero", "pages of zeros", "zero"],
        ["Within", "what a guest holds several times itself", "within"],
        ["Across", "what guests of a group have in common", "across"],
    ].map(([name, what, key]) => ({ name, what, sure: saving[`sure_${key}_bytes`], at_most: saving[`at_most_${key}_bytes`] }));
}

export function sum(guests, key) {
    return guests.reduce((total, g) => total + (g[key] || 0), 0);
}

export const HEATS = [
    ["hot", "Hot", "accessed in many rounds"],
    ["warm", "Warm", "accessed in some"],
    ["cold", "Cold", "accessed in none"],
    ["undecided", "Undecided", "not watched for long enough"],
];

/*
 * Heat and skew of a guest: { columns, rows: [{ key, name, what, total, cells }], most }. A cell counts huge pages of one heat by
 * their hot base pages; the first column has those that were never looked into, or not since they changed.
 */
export function heat_picture(report) {
    const by_heat = report.hot_base_pages_by_heat;
    /* An object has keys that are numbers before all others: "512" would come before "2-3". */
    const ranges = Object.keys(report.hot_base_pages_histogram).sort((a, b) => parseInt(a, 10) - parseInt(b, 10));
    const columns = ["not looked into", ...ranges];
    const rows = HEATS.map(([key, name, what]) => {
        const counts = ranges.map(c => by_heat[key][c] || 0);
        const total = report.heat[key];
        return { key, name, what, total, cells: [Math.max(0, total - counts.reduce((a, b) => a + b, 0)), ...counts] };
    });
    return { columns, rows, most: Math.max(1, ...rows.flatMap(r => r.cells)) };
}

/* The picture in one sentence, for who does not see it. */
export function heat_summary(report) {
    const h = report.heat;
    const looked = Object.values(report.hot_base_pages_histogram).reduce((a, b) => a + b, 0);
    return `Of ${several(report.huge_pages.total, "huge page")} ${count(h.hot)} are hot, ${count(h.warm)} warm, ${count(h.cold)} cold` +
        ` and ${count(h.undecided)} undecided. ${count(looked)} were looked into: ${count(h.evenly_hot)} evenly hot, ` +
        `${count(h.hot_bloat)} hot and cold inside for the most part. ${count(h.hot_still_huge)} hot ones are mapped whole.`;
}

/* Decisions of the policy about a guest's huge pages that there are, the most frequent first. */
export function decisions(report) {
    return Object.entries(report.reasons).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
}

/* Answers to a request for a change: { kind, title, text }. */
export function outcome(answer, what) {
    if (["not-found", "access-denied", "authentication-failed", "not-authorized"].includes(answer.problem))
        return { kind: "danger", title: `${what}: not done`, text: "The service cannot be asked, so nothing was changed." };
    if (answer.problem)
        return { kind: "danger", title: `${what}: not known whether it is done`, text: `The service gave no answer: ${answer.message}` };
    if (answer.status === 202)
        return { kind: "info", title: `${what}: under way`, text: answer.message || "It is accepted, does not hold yet, and goes on by itself." };
    if (answer.status >= 200 && answer.status < 300)
        return { kind: "good", title: `${what}: done`, text: answer.message };
    if (answer.status === 409)
        return { kind: "warning", title: `${what}: not now`, text: answer.message };
    return { kind: "danger", title: `${what}: refused`, text: answer.message };
}

/* Why there is no answer: { key, title, text }. `had` says that there were answers before. */
export function unreachable(answer, socket, had) {
    switch (answer.problem) {
    case "access-denied":
    case "authentication-failed":
    case "not-authorized":
        return { key: "denied", title: "Administrative access is needed",
                 text: `The service\u2019s socket, ${socket}, is for root. Switch on administrative access in the bar at the top; ` +
                       "this page goes on by itself then. Without it, a group can be given the socket (socket_group in /etc/hs-share/hs-share.conf)." };
    case "not-found":
        return { key: "stopped", title: had ? "The service has stopped" : "The service does not run",
                 text: `Nobody answers on ${socket}. What is shared stays so while it is stopped. Start it with ` +
                       "\u201csystemctl start hs-shared\u201d; this page finds it by itself." };
    case "disconnected":
    case "terminated":
        return { key: "disconnected", title: "The connection has ended",
                 text: "The service or this session went away in the middle of a request. It is tried again." };
    case null:
        return { key: "error", title: "The service answers with an error", text: answer.message };
    default:
        return { key: answer.problem, title: "The service cannot be asked", text: answer.message || answer.problem };
    }
}

/* What a mode does, said before it is set: a list of sentences. `sharing` is keep, undo or "". */
export function mode_effect(mode, sharing, status) {
    const taken = status.overcommit.bytes || status.kept?.bytes || 0;
    const available = status.memory.available_bytes;
    const out = [];
    const undone = sharing === "undo" || (mode === "off" && sharing === "");

    switch (mode) {
    case "off":
        out.push("Scanning ends, and KSM\u2019s settings are given back.");
        break;
    case "observe":
        out.push(`${several(status.guests.opted_in, "guest")} that opted in ${status.guests.opted_in === 1 ? "is" : "are"} looked at and reported on. ` +
                 "Nothing further is shared, and nothing is changed in a guest.");
        break;
    case "save":
        out.push(`${several(status.guests.opted_in, "guest")} that opted in may share, inside their trust groups alone. ` +
                 `By what was looked at that saves ${range(status.saving.could_save_bytes, status.saving.could_save_at_most_bytes)}.`);
        out.push("For that, cold huge pages are split, and the service takes KSM for itself. Hot huge pages stay whole.");
        out.push("Guests of one group can find out, by timing, which contents the others hold.");
        break;
    case "auto":
        out.push("Guests that opted in are looked at; they share while the host is short of memory, and the service switches by itself.");
        break;
    }
    if (mode === "off" && sharing === "")
        out.push("What becomes of what is shared is as configured (on_off); without that setting it is undone.");
    if (undone && taken > 0) {
        out.push(`${sharing === "" ? "Undoing it" : "What is shared is undone. That"} takes ${bytes(taken)} of memory; ${bytes(available)} ` +
                 `${available >= taken ? "are available." : "are available, which is not enough: what finds no room stays shared and is tried again."}`);
    } else if (sharing === "keep" && taken > 0) {
        out.push(`${bytes(taken)} stay shared${mode === "save" || mode === "auto" ? "." : ", and no mode follows that."}`);
    } else if (mode === "observe" && sharing === "" && taken > 0) {
        out.push(`What is shared, ${bytes(taken)}, stays shared.`);
    }
    return out;
}

/* What letting a guest in, or out, does. */
export function opt_in_effect(guest, status) {
    const out = [];
    if (guest.source === "libvirt")
        out.push("It is stored in the domain\u2019s metadata, live and for its next starts.");
    else
        out.push("It holds as long as the process lives.");
    out.push(status.effective === "save"
        ? "The service shares: within a minute or so its cold pages that others hold as well are shared, and cold huge pages are split for that."
        : `In mode ${status.effective} nothing is shared of it yet: ${status.effective === "off" ? "it is not looked at either" : "it is looked at and reported on"}.`);
    out.push("Guests of one group can find out, by timing, which contents the others hold: put only guests of one owner into a group.");
    return out;
}

export function opt_out_effect(guest, status) {
    const taken = guest.shared_pages * 4096 + guest.zero_pages * 4096;
    const out = [`${guest.id} shares no more, and is not looked at any more.`];
    if (taken > 0 && status.ksm_taken) {
        out.push(`What is shared of it is undone in steps, which takes up to ${bytes(taken)} of memory; ` +
                 `${bytes(status.memory.available_bytes)} are available.`);
    }
    if (guest.rule)
        out.push(`The rule \u201c${guest.rule}\u201d opts it in; after this it stays out all the same, until it is opted in again.`);
    return out;
}

/* What it would take to end all sharing at once. */
export function overcommit(status) {
    const taken = status.ksm_taken ? status.overcommit.bytes : status.kept?.bytes || 0;
    return {
        bytes: taken,
        available: status.memory.available_bytes,
        total: status.memory.total_bytes,
        max: status.overcommit.max_bytes,
        fits: taken <= status.memory.available_bytes,
        text: taken === 0 ? "Nothing is shared." : `${percent(taken, status.memory.available_bytes)} of what is available`,
    };
}

/*
 * History as columns: { at, saved, net, could, available, cpu }. Saved and net are null where no mode shared, since they were
 * not known; CPU is in percent of one processor since the point before, null where the counter began anew or points are missing.
 */
export function columns_of(points, step_s) {
    const out = { at: [], saved: [], net: [], could: [], available: [], cpu: [] };
    points.forEach((p, i) => {
        const before = points[i - 1];
        const known = p.mode === "save" || p.saved_bytes > 0;
        const used = before ? p.cpu_seconds + p.ksmd_cpu_seconds - before.cpu_seconds - before.ksmd_cpu_seconds : -1;
        out.at.push(p.at);
        out.saved.push(known ? p.saved_bytes : null);
        out.net.push(known ? p.net_saved_bytes : null);
        out.could.push(p.could_save_bytes);
        out.available.push(p.memory_available_bytes);
        out.cpu.push(used >= 0 && p.at - before.at <= 3 * step_s ? 100 * used / Math.max(1, p.at - before.at) : null);
    });
    return out;
}
