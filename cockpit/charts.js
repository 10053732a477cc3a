/* SPDX-License-Identifier: Apache-2.0 */
/* History: charts drawn by uPlot, with what they show in a sentence and as a table. */
import uPlot from "./uplot/uPlot.esm.js";
import { el, text } from "./dom.js";
import { bytes, range, several, time } from "./format.js";
import { columns_of } from "./model.js";
import { on_theme } from "./theme.js";

const HEIGHT = 190;
const POWER = [...Array(50).keys()].map(i => 2 ** i);
const percent_text = v => v === null || v === undefined ? "\u2013" : `${v.toFixed(v < 10 ? 1 : 0)} %`;
const CHARTS = [
    {
        key: "saving", title: "Saved, and what could be", unit: bytes, incrs: POWER,
        series: [
            { key: "net", label: "net saved", colour: "--chart-1", width: 2, fill: "--chart-1-fill" },
            { key: "saved", label: "saved", colour: "--chart-2", dash: [6, 4] },
            { key: "could", label: "could be saved", colour: "--chart-3", dash: [2, 3] },
        ],
    },
    {
        key: "memory", title: "Memory available on the host", unit: bytes, incrs: POWER,
        series: [{ key: "available", label: "available", colour: "--chart-2", width: 2 }],
    },
    {
        key: "cpu", title: "Processor time: service and ksmd, of one processor", unit: percent_text,
        series: [{ key: "cpu", label: "of one processor", colour: "--chart-1", width: 2 }],
    },
];

/* Of a time axis, by how far its marks are apart; a day is named where it begins. */
function clock(u, splits, axis, space, step_s) {
    let day = "";
    return splits.map(at => {
        const d = new Date(at * 1000);
        const date = d.toLocaleDateString(undefined, { day: "numeric", month: "short" });
        const hour = d.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", ...(step_s < 60 ? { second: "2-digit" } : {}), hour12: false });
        const said = step_s >= 86400 ? date : date === day ? hour : `${hour}\n${date}`;
        day = date;
        return said;
    });
}

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/* While nothing is pointed at, the legend has the latest values. */
function show_last(u) {
    if (u.cursor.idx === null || u.cursor.idx === undefined)
        u.setLegend({ idx: u.data[0].length - 1 }, false);
}

function summary(chart, data) {
    return chart.series.map(s => {
        const values = data[s.key].filter(v => v !== null);
        if (!values.length)
            return `${s.label}: not known`;
        const least = Math.min(...values);
        const most = Math.max(...values);
        return `${s.label}: ${chart.unit === bytes ? range(least, most) : `${chart.unit(least)} to ${chart.unit(most)}`}, ` +
            `last ${chart.unit(values[values.length - 1])}`;
    }).join("; ");
}

export class History {
    constructor(place, note, table) {
        this.place = place;
        this.note = note;
        this.table = table;
        this.charts = [];
        this.data = null;
        on_theme(() => this.draw_anew());
        new ResizeObserver(() => this.fit()).observe(place);
    }

    show(answer) {
        this.data = columns_of(answer.points, answer.step_s);
        this.step_s = answer.step_s;
        const { at } = this.data;
        text(this.note, at.length < 2
            ? `A point is taken each ${several(answer.resolution_s, "second")}; there ${at.length ? "is one" : "is none"} yet. A line takes two.`
            : `${several(at.length, "point")}, from ${time(at[0])} to ${time(at[at.length - 1])}. Where nothing was shared, what was saved is not drawn.`);
        this.place.hidden = at.length < 2;
        if (at.length >= 2) {
            if (this.charts.length === 0)
                this.make();
            for (const c of this.charts) {
                c.plot.setData([at, ...c.chart.series.map(s => this.data[s.key])]);
                show_last(c.plot);
                text(c.caption, `${c.chart.title}. ${summary(c.chart, this.data)}.`);
            }
        }
        if (!this.table.hidden)
            this.fill_table();
    }

    width() {
        return Math.max(200, this.place.firstElementChild?.clientWidth || this.place.clientWidth || 300);
    }

    make() {
        const grid = { stroke: colour("--border"), width: 1 };
        const font = `12px ${getComputedStyle(document.body).fontFamily}`;

        this.place.replaceChildren();
        this.charts = CHARTS.map(chart => {
            const caption = el("p.for-readers");
            const drawn = el("div", { "aria-hidden": "true" });
            const figure = el("figure.chart", null, el("figcaption", null, chart.title), caption, drawn);
            this.place.append(figure);
            const plot = new uPlot({
                width: this.width(), height: HEIGHT, cursor: { y: false, drag: { x: false, y: false } }, legend: { live: true },
                hooks: { setCursor: [u => show_last(u)] },
                scales: { y: { range: (u, least, most) => [0, most > 0 ? most * 1.08 : 1] } },
                axes: [
                    { stroke: colour("--text"), grid, ticks: grid, font, values: clock, space: 70 },
                    { stroke: colour("--text"), grid, ticks: grid, font, size: 72, incrs: chart.incrs, space: 40,
                      values: (u, splits) => splits.map(v => chart.unit(v)) },
                ],
                series: [
                    { label: "time", value: (u, v) => v === null ? "\u2013" : time(v) },
                    ...chart.series.map(s => ({
                        label: s.label, stroke: colour(s.colour), width: s.width || 1.5, dash: s.dash,
                        fill: s.fill ? colour(s.fill) : undefined, points: { show: false },
                        value: (u, v) => v === null || v === undefined ? "\u2013" : chart.unit(v),
                    })),
                ],
            }, [this.data.at, ...chart.series.map(s => this.data[s.key])], drawn);
            return { chart, plot, caption };
        });
        this.fit();
    }

    draw_anew() {
        if (!this.charts.length)
            return;
        for (const c of this.charts)
            c.plot.destroy();
        this.charts = [];
        this.make();
        for (const c of this.charts)
            text(c.caption, `${c.chart.title}. ${summary(c.chart, this.data)}.`);
    }

    fit() {
        for (const c of this.charts) {
            const width = Math.max(200, c.caption.parentElement.clientWidth);
            if (c.plot.width !== width)
                c.plot.setSize({ width, height: HEIGHT });
        }
    }

    toggle_table(button) {
        this.table.hidden = !this.table.hidden;
        button.setAttribute("aria-expanded", String(!this.table.hidden));
        if (!this.table.hidden)
            this.fill_table();
    }

    fill_table() {
        const d = this.data;
        const size = v => v === null ? "not known" : bytes(v);
        const head = ["Time", "Net saved", "Saved", "Could be saved", "Available", "Processor"];
        const rows = (d?.at || []).map((at, i) => [time(at), size(d.net[i]), size(d.saved[i]), bytes(d.could[i]), bytes(d.available[i]),
                                                   percent_text(d.cpu[i])]).reverse();
        this.table.replaceChildren(el("table.figures", null,
            el("caption.for-readers", null, "History, the latest first"),
            el("thead", null, el("tr", null, ...head.map(h => el("th", { scope: "col" }, h)))),
            el("tbody", null, ...rows.map(r => el("tr", null, el("th", { scope: "row" }, r[0]), ...r.slice(1).map(c => el("td", null, c)))))));
    }
}
