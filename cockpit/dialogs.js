/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialogs that say what a change will do before it is made. The browser's own <dialog> keeps the focus inside, makes the rest
 * inert, ends with Escape, and gives the focus back.
 */
import { el, fresh_id, prose } from "./dom.js";
import * as model from "./model.js";
import { bytes } from "./format.js";

const MIB = 1024 * 1024;

/* ask({ title, confirm, danger, fields, effect }): resolves to true or false. effect(): sentences, asked again at each change. */
function ask({ title, confirm, danger, fields = [], effect }) {
    return new Promise(resolve => {
        const heading = fresh_id("dialog-title");
        const says = fresh_id("dialog-effect");
        const list = el("ul", { id: says, "aria-live": "polite" });
        const cancel = el("button.button", { type: "button" }, "Cancel");
        const go = el(danger ? "button.button.danger" : "button.button.primary", { type: "submit" }, confirm);
        const form = el("form", { method: "dialog" },
                        el("h2", { id: heading }, title), ...fields,
                        el("div.effect", null, el("h3", null, "What it will do"), list),
                        el("div.dialog-actions", null, go, cancel));
        const dialog = el("dialog", { "aria-labelledby": heading, "aria-describedby": says }, form);
        let yes = false;
        const say = () => {
            const sentences = effect();
            if (sentences.join("\n") !== [...list.children].map(li => li.textContent).join("\n"))
                list.replaceChildren(...sentences.map(s => el("li", null, s)));
        };

        cancel.addEventListener("click", () => dialog.close());
        form.addEventListener("input", say);
        form.addEventListener("submit", event => {
            event.preventDefault();
            yes = true;
            dialog.close();
        });
        dialog.addEventListener("close", () => {
            dialog.remove();
            resolve(yes);
        });
        say();
        document.body.append(dialog);
        dialog.showModal();
        (form.querySelector("input:checked, input:not([type=radio]), select") || cancel).focus();
    });
}

function choices(legend, name, options, chosen) {
    const inputs = options.map(([value, label, more]) => {
        const input = el("input", { type: "radio", name, value, checked: value === chosen });
        return [input, el("label.choice", null, input, el("span", null, el("strong", null, label), more ? ` ${more}` : ""))];
    });
    return {
        element: el("fieldset", null, el("legend", null, legend), ...inputs.map(i => i[1])),
        value: () => inputs.find(([input]) => input.checked)?.[0].value ?? "",
    };
}

/* { mode, sharing }, or null: cancelled */
export async function mode(status) {
    const modes = choices("Mode", "mode", [
        ["off", "Off", "nothing is done"],
        ["observe", "Observe", "look and report, change nothing"],
        ["save", "Save", "share"],
        ["auto", "Auto", "observe, and share while memory is short"],
    ], status.mode);
    const sharing = choices("What becomes of what is shared", "sharing", [
        ["", "As the mode has it", ""],
        ["keep", "Keep it shared", ""],
        ["undo", "Undo it", ""],
    ], "");
    const yes = await ask({
        title: `Change the mode (now ${status.mode})`,
        confirm: "Set the mode",
        fields: [modes.element, sharing.element],
        effect: () => [...model.mode_effect(modes.value(), sharing.value(), status),
                       "It holds for the next starts of the service as well, unless remember_mode is off."],
    });
    return yes ? { mode: modes.value(), sharing: sharing.value() } : null;
}

/* { id, what }, or null. Without a guest a process is asked for. */
export async function opt_in(guest, status) {
    const pid = guest ? null : el("input", { type: "text", inputmode: "numeric", pattern: "[1-9][0-9]{0,9}", required: true, autocomplete: "off",
                                             title: "a process id: digits alone" });
    const hint = fresh_id("hint");
    const group = el("input", { type: "text", pattern: model.GROUP_PATTERN, required: true, autocomplete: "off", "aria-describedby": hint,
                                value: guest?.group || "default", title: "1 to 63 letters, digits, dots, dashes or underscores" });
    const most = el("input", { type: "number", min: "0", step: "1", inputmode: "numeric", required: true,
                               value: String(Math.floor((guest?.max_shared_bytes || 0) / MIB)) });
    const share = el("select", null, ...model.SCOPES.map(([value, label]) =>
        el("option", { value, selected: value === (guest?.opted_in ? guest.share : "group") }, label)));
    const subject = guest || { id: "the process", source: "process" };
    const yes = await ask({
        title: guest ? (guest.opted_in ? `Change what ${guest.id} may share` : `Let ${guest.id} share`) : "Let a process share",
        confirm: guest?.opted_in ? "Change" : "Opt in",
        fields: [
            pid ? el("label.field", null, "Process id (of QEMU, or another VMM)", pid) : null,
            el("label.field", null, "Trust group", group),
            el("p.small", { id: hint }, "Guests share only inside their trust group."),
            el("label.field", null, "Share at most, in MiB (0: no limit)", most),
            el("label.field", null, "With whom it may share", share),
        ].filter(Boolean),
        effect: () => model.opt_in_effect(subject, status),
    });
    if (!yes)
        return null;
    return {
        id: guest ? guest.id : `pid-${pid.value}`,
        what: { group: group.value, max_shared_bytes: Number(most.value) * MIB, share: share.value },
    };
}

export function opt_out(guest, status) {
    return ask({ title: `Opt ${guest.id} out`, confirm: "Opt out", danger: true, effect: () => model.opt_out_effect(guest, status) });
}

export function unshare_all(status) {
    return ask({
        title: "Undo all sharing that is left",
        confirm: "Undo",
        danger: true,
        effect: () => [
            `${bytes(status.kept.bytes)} stay shared in this mode; undoing that takes as much memory, in steps. ` +
            `${bytes(status.memory.available_bytes)} are available.`,
            "What finds no room stays shared, and is tried again by itself.",
        ],
    });
}

export function look() {
    return ask({
        title: "Look into hot huge pages",
        confirm: "Look",
        effect: () => [
            "The mapping of hot huge pages that promise a gain is split for about a second, and made huge again, to see which of " +
            "their base pages are cold. Nothing is shared for it.",
            "The guests may feel that second; afterwards the range of what could be saved is narrower.",
        ],
    });
}

/* A notice, with what it is in words before the colour. */
const WORDS = { danger: "Trouble", warning: "Warning", info: "Note", good: "Done" };
export function notice({ kind, title, text: what }, ...more) {
    const body = el("span.notice-text");
    prose(body, what || "");
    return el(`div.notice.${kind}`, null, el("span.notice-word", null, WORDS[kind]),
              el("div", null, el("strong", null, title), what ? el("br") : null, body, ...more));
}
