/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements made and kept up to date. What the service sends is only ever text here: no markup is made of it. A text is
 * written only where it changed, so that a screen reader announces changes alone, and what is selected stays so.
 */

/* el("button.primary", { type: "button", onclick: f }, "text", child, ...) */
export function el(name, props, ...children) {
    const [tag, ...classes] = name.split(".");
    const e = document.createElement(tag);
    if (classes.length)
        e.className = classes.join(" ");
    for (const [key, value] of Object.entries(props || {})) {
        if (value === undefined || value === null || value === false)
            continue;
        if (key.startsWith("on"))
            e.addEventListener(key.slice(2), value);
        else
            e.setAttribute(key, value === true ? "" : value);
    }
    e.append(...children.filter(c => c !== null && c !== undefined));
    return e;
}

export function text(e, value) {
    if (e.textContent !== value)
        e.textContent = value;
}

/* A text of the service, in which `commands` stand between backquotes. */
export function prose(e, value) {
    if (e.dataset.prose === value)
        return;
    e.dataset.prose = value;
    e.replaceChildren(...value.split("`").map((part, i) => i % 2 ? el("code", null, part) : part));
}

export function attribute(e, name, value) {
    if (value === null || value === undefined || value === false)
        e.removeAttribute(name);
    else if (e.getAttribute(name) !== String(value))
        e.setAttribute(name, value);
}

/* Children of `parent` in the order of `keys`; make(key) where there is none yet. What goes on keeps its element, and the focus. */
export function keyed(parent, have, keys, make) {
    const wanted = new Set(keys);
    for (const [key, item] of have) {
        if (!wanted.has(key)) {
            for (const e of item.elements)
                e.remove();
            have.delete(key);
        }
    }
    let at = parent.firstElementChild;
    for (const key of keys) {
        if (!have.has(key))
            have.set(key, make(key));
        for (const e of have.get(key).elements) {
            if (e === at)
                at = at.nextElementSibling;
            else
                parent.insertBefore(e, at);
        }
    }
}

/* A list of terms: [[term, text], ...] as <dl>. */
export function terms(dl, rows) {
    const same = dl.children.length === rows.length;
    if (!same)
        dl.replaceChildren(...rows.map(() => el("div", null, el("dt"), el("dd"))));
    rows.forEach(([term, value], i) => {
        text(dl.children[i].firstElementChild, term);
        text(dl.children[i].lastElementChild, value);
    });
}

let last_id = 0;
export function fresh_id(prefix) {
    last_id++;
    return `${prefix}-${last_id}`;
}
