/* SPDX-License-Identifier: Apache-2.0 */
/* Figures as text. Sizes in units of 1024, as the commands of hs-share print them. */

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
const MINUS = "\u2212";
const DASH = "\u2013";

/* Three digits that count: 0 bytes, 4.00 KiB, 57.0 MiB, 1023 MiB, 1.50 GiB */
export function bytes(n) {
    if (typeof n !== "number" || !Number.isFinite(n))
        return DASH;
    const sign = n < 0 ? MINUS : "";
    let v = Math.abs(n);
    let unit = 0;
    while (v >= 1024 && unit < UNITS.length - 1) {
        v /= 1024;
        unit++;
    }
    const digits = unit === 0 || v >= 100 ? 0 : v >= 10 ? 1 : 2;
    if (digits === 0 && Math.round(v) === 1024 && unit < UNITS.length - 1)
        return `${sign}1.00 ${UNITS[unit + 1]}`;
    return `${sign}${v.toFixed(digits)} ${UNITS[unit]}`;
}

/* "57.0 MiB", or "57.0 to 80.0 MiB": the unit once where both have it. */
export function range(from, to) {
    const a = bytes(from);
    const b = bytes(to);
    if (a === b || !(to > from))
        return a;
    const unit = a.split(" ")[1];
    return unit === b.split(" ")[1] ? `${a.split(" ")[0]} to ${b}` : `${a} to ${b}`;
}

export function count(n) {
    return typeof n === "number" ? n.toLocaleString("en-GB") : DASH;
}

export function several(n, one, many) {
    return `${count(n)} ${n === 1 ? one : many || one + "s"}`;
}

export function percent(part, whole) {
    return whole > 0 ? `${(100 * part / whole).toFixed(part && part < whole / 10 ? 1 : 0)} %` : DASH;
}

export function duration(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 120)
        return several(s, "second");
    if (s < 2 * 3600)
        return several(Math.round(s / 60), "minute");
    if (s < 2 * 86400)
        return several(Math.round(s / 3600), "hour");
    return several(Math.round(s / 86400), "day");
}

export function time(unix_s) {
    return new Date(unix_s * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
