/* SPDX-License-Identifier: Apache-2.0 */
/* The page: asks the service every two seconds while it is seen, shows the answers, and passes on what the operator wants. */
/* global cockpit */
import { Api } from "./api.js";
import { History } from "./charts.js";
import * as dialogs from "./dialogs.js";
import { el, prose, text } from "./dom.js";
import { several, time } from "./format.js";
import { Guests } from "./guests.js";
import * as model from "./model.js";
import { Overview } from "./overview.js";
import "./theme.js";

const EVERY_MS = 2000;
const MANY_GUESTS = 500;       /* from here on their list is asked for less often */
const LIST_EVERY_MS = 10000;
const SILENT_AFTER_MS = 15000; /* a request that takes longer is said to hang */
const OUTCOMES = 4;

const $ = id => document.getElementById(id);
const api = new Api();
let status = null;       /* the last that was answered */
let connected = false;
let list_at = 0;
let report_of = "";
let history_at = 0;
let history_range = "";
let look_state = "";
let timer = 0;
let asking = false;

/* ---- what came of changes */

function outcome(what) {
    const line = dialogs.notice(what, el("span.small", null, ` ${new Date().toLocaleTimeString()}`));
    const close = el("button.button.small-button", { type: "button", "aria-label": `Dismiss: ${what.title}` }, "Dismiss");
    close.addEventListener("click", () => {
        const next = line.nextElementSibling?.querySelector("button") || $("page");
        line.remove();
        next.focus({ preventScroll: true });
    });
    line.append(close);
    $("outcomes").prepend(line);
    while ($("outcomes").children.length > OUTCOMES)
        $("outcomes").lastElementChild.remove();
    return line;
}

/* Makes a change, and says what came of it. */
async function change(what, ask) {
    const line = outcome({ kind: "info", title: `${what}: asked for`, text: "The answer may take some time; the page goes on meanwhile." });
    const answer = await ask();
    line.remove();
    outcome(model.outcome(answer, what));
    soon();
}

async function act(what, guest) {
    if (what === "opt-in") {
        const wanted = await dialogs.opt_in(guest, status);
        if (wanted)
            await change(`Opt in ${wanted.id}`, () => api.opt_in(wanted.id, wanted.what));
    } else if (await dialogs.opt_out(guest, status)) {
        await change(`Opt out ${guest.id}`, () => api.opt_out(guest.id));
    }
}

const overview = new Overview($("overview"), async () => {
    if (await dialogs.look())
        await change("Look into hot huge pages", () => api.ask_look());
});
const guests = new Guests($("guests"), $("guests-shown"), $("filter"), act, id => detail(id));
const history = new History($("charts"), $("history-note"), $("history-table"));

$("set-mode").addEventListener("click", async () => {
    const wanted = await dialogs.mode(status);
    if (wanted)
        await change(`Mode ${wanted.mode}`, () => api.set_mode(wanted.mode, wanted.sharing));
});
$("opt-in-process").addEventListener("click", () => act("opt-in", null));
$("history-range").addEventListener("change", event => {
    history_range = event.target.value;
    history_at = 0;
    soon();
});
$("history-table-toggle").addEventListener("click", event => history.toggle_table(event.currentTarget));

/* ---- diagnose */

function sentence(tag, value) {
    const e = el(tag);
    prose(e, value);
    return e;
}

function finding(f) {
    const level = model.LEVELS[f.level] || { sign: "?", kind: "plain", word: f.level };
    return el("li", { "data-level": f.level },
              el(`span.chip.${level.kind}`, null, el("span", { "aria-hidden": "true" }, level.sign), ` ${level.word}`),
              el("div", null, el("strong", null, f.name), " ", sentence("span", f.text), f.advice ? sentence("p.advice", `The way out: ${f.advice}`) : null));
}

function found(d) {
    return d.found.map(f => el("li", null, el(`span.chip.${f.taken ? "good" : "warning"}`, null, f.taken ? "found" : "refused"),
        el("div", null, el("strong", null, f.name), ` by the rule \u201c${f.rule}\u201d`, f.pid ? `, process ${f.pid}` : "",
           f.group ? `, group ${f.group}` : "", f.taken ? "" : `: ${f.reason}`)));
}

$("diagnose").addEventListener("click", async () => {
    const body = $("diagnosis-body");
    $("diagnosis").hidden = false;
    $("diagnosis-title").focus();
    body.replaceChildren(el("p", null, "The host is being looked at\u2026"));
    const answer = await api.diagnose();
    if (answer.status !== 200) {
        body.replaceChildren(dialogs.notice({ ...model.outcome(answer, "Diagnose") }));
        return;
    }
    const d = answer.data;
    const order = ["obstacle", "warning", "note", "ok"];
    const sorted = [...d.findings].sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));
    body.replaceChildren(
        el("p", null, d.obstacles ? `${several(d.obstacles, "obstacle")} to sharing memory.` : "Nothing stands in the way.",
           d.warnings ? ` ${several(d.warnings, "warning")} should be looked at.` : ""),
        el("ul.findings", null, ...sorted.map(finding)),
        ...(d.discovery ? [
            el("h3", null, "Guests by rules"),
            d.discovery.error ? el("p", null, d.discovery.error) : null,
            d.discovery.found.length ? el("ul.findings", null, ...found(d.discovery)) : el("p", null, "The rules find no guest."),
        ].filter(Boolean) : []));
});
$("diagnosis-close").addEventListener("click", () => {
    $("diagnosis").hidden = true;
    $("diagnose").focus();
});

/* ---- what the service says */

let noticed = "";
function show_notices() {
    const list = model.notices(status);
    const now = JSON.stringify(list);
    if (now === noticed)
        return;
    noticed = now;
    $("notices").replaceChildren(...list.map(n => dialogs.notice(n)));
    if (!status.ksm_taken && status.kept?.bytes > 0 && !status.undo_pending) {
        const undo = el("button.button.small-button", { type: "button" }, "Undo it\u2026");
        undo.addEventListener("click", async () => {
            if (await dialogs.unshare_all(status))
                await change("Undo all sharing", () => api.unshare_all());
        });
        $("notices").lastElementChild.append(undo);
    }
}

function show_status() {
    const mode = status.mode === status.effective ? `Mode ${status.mode}` : `Mode ${status.mode}, now ${status.effective}`;
    text($("state"), `${mode}: ${status.mode_reason}`);
    overview.status(status);
    show_notices();
}

let said = "";
function set_connected(is, why) {
    const changed = connected !== is;
    connected = is;
    $("content").classList.toggle("stale", !is);
    if (is)
        $("content").hidden = false;
    for (const id of ["set-mode", "opt-in-process", "diagnose"])
        $(id).disabled = !is;
    if (changed) {
        for (const button of $("content").querySelectorAll(".row-actions button, .card button"))
            button.disabled = !is;
        look_state = ""; /* which has a say in this, too */
    }
    const now = why ? why.key + why.text : "";
    if (now === said)
        return;
    said = now;
    $("connection").replaceChildren(...(why ? [dialogs.notice({ kind: why.key === "denied" ? "warning" : "danger", ...why },
        status ? el("p.small", null, `What is shown below is as of ${time(status_at / 1000)}.`) : "")] : []));
    if (why)
        text($("state"), "");
}

async function detail(id) {
    const answer = await api.guest(id);
    guests.open.get(id)?.show(answer);
}

/* What changes slowly is asked for when it may have changed. */
async function refresh_rest(now) {
    const cycle = `${status.started_at} ${status.scan.cycles} ${status.effective} ${status.guests.opted_in} ${status.guests.sharing}`;

    if (status.guests.known < MANY_GUESTS || now - list_at >= LIST_EVERY_MS) {
        const list = await api.guests();
        if (list.status === 200) {
            list_at = now;
            overview.guests(list.data.guests);
            guests.update(list.data.guests);
        }
    }
    if (cycle !== report_of) {
        const report = await api.report();
        if (report.status === 200) {
            report_of = cycle;
            overview.report(report.data);
        }
    }
    const look = await api.look();
    if (look.status === 200 && JSON.stringify(look.data) !== look_state) {
        look_state = JSON.stringify(look.data);
        overview.look(look.data);
    }
    if (now >= history_at) {
        const answer = await api.history(history_range ? { seconds: history_range } : {});
        if (answer.status === 200) {
            history_at = now + 1000 * Math.min(30, Math.max(2, answer.data.resolution_s));
            history.show(answer.data);
        }
    }
    for (const id of guests.open.keys())
        await detail(id);
}

let status_at = 0;
async function look_at_all() {
    const hangs = setTimeout(() => set_connected(connected, {
        key: "hangs", title: "The service does not answer", text: `A request has waited for ${SILENT_AFTER_MS / 1000} s; it goes on waiting.`,
    }), SILENT_AFTER_MS);
    const answer = await api.status();
    clearTimeout(hangs);
    if (answer.status !== 200 || !answer.data) {
        set_connected(false, model.unreachable(answer, api.socket, status !== null));
        await api.open(); /* root's rights or another socket may have come */
        return;
    }
    status = answer.data;
    status_at = Date.now();
    set_connected(true, null);
    show_status();
    await refresh_rest(status_at);
}

async function tick() {
    clearTimeout(timer);
    if (asking)
        return;
    asking = true;
    try {
        if (!document.hidden)
            await look_at_all();
    } finally {
        asking = false;
        timer = setTimeout(tick, EVERY_MS);
    }
}

function soon() {
    report_of = "";
    list_at = 0;
    tick();
}

document.addEventListener("visibilitychange", () => !document.hidden && tick());
cockpit.transport.wait(async () => {
    await api.open();
    tick();
});
