/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Light or dark as Cockpit's shell has it: "shell:style" in the local storage, an event of that name in this page when it is
 * changed, and what the browser asks for where it is "auto" or was never chosen. The style sheet goes by Cockpit's class.
 */

const DARK = ["pf-theme-dark", "pf-v5-theme-dark", "pf-v6-theme-dark"];
const wants_dark = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = [];

export function is_dark() {
    return document.documentElement.classList.contains(DARK[0]);
}

export function on_theme(f) {
    listeners.push(f);
}

function apply(style) {
    const chosen = style || window.localStorage.getItem("shell:style") || "auto";
    const dark = chosen === "dark" || (chosen === "auto" && wants_dark.matches);
    const was = is_dark();
    for (const name of DARK)
        document.documentElement.classList.toggle(name, dark);
    if (was !== dark)
        listeners.forEach(f => f());
}

window.addEventListener("storage", event => event.key === "shell:style" && apply());
window.addEventListener("cockpit-style", event => apply(event.detail?.style));
wants_dark.addEventListener("change", () => apply());
apply();
