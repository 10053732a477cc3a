/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the page's pure functions say; beside the page's files, as static.sh has copied them.
 * usage: static.mjs api OPENAPI_JSON | words | syntax FILE...
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { SourceTextModule } from "node:vm";
import { configured_socket } from "./api.js";
import * as format from "./format.js";
import * as model from "./model.js";

const MIB = 1024 * 1024;

function api(doc) {
    const s = doc.components.schemas;
    const guest = s.GuestSummary.properties;
    const put = doc.paths["/v1/mode"].put.requestBody.content["application/json"].schema;
    const opt_in = doc.paths["/v1/guests/{id}/opt-in"].put.requestBody.content["application/json"].schema;

    assert.deepEqual(model.MODES, put.properties.mode.enum);
    assert.deepEqual(Object.keys(model.STATES).sort(), [...guest.state.enum].sort());
    assert.deepEqual(Object.keys(model.LEVELS).sort(), [...s.Diagnosis.properties.findings.items.properties.level.enum].sort());
    assert.deepEqual(model.SCOPES.map(([name]) => name), opt_in.properties.share.enum);
    assert.equal(`^${model.GROUP_PATTERN}$`.replace("\\-", "-"), opt_in.properties.group.pattern);
    assert.deepEqual(model.HEATS.map(([key]) => key), Object.keys(s.GuestReport.properties.hot_base_pages_by_heat.properties));
    for (const part of ["zero", "within", "across"])
        assert.ok(s.Saving.properties[`sure_${part}_bytes`] && s.Saving.properties[`at_most_${part}_bytes`]);
}

function status(more) {
    return {
        mode: "save", effective: "save", ksm_taken: true, trouble: "", undo_pending: "",
        scan: { stage: "rest", silent_ms: 1000 }, guests: { known: 2, opted_in: 2, sharing: 2 },
        saving: { saved_bytes: 60 * MIB, net_saved_bytes: 57 * MIB, could_save_bytes: 60 * MIB, could_save_at_most_bytes: 80 * MIB },
        overcommit: { bytes: 60 * MIB, max_bytes: 0, limit_reached: false }, memory: { available_bytes: 1000 * MIB, total_bytes: 2000 * MIB },
        libvirt: { connections: [] }, ...more,
    };
}

function words() {
    /* sizes */
    for (const [n, text] of [[0, "0 bytes"], [1023, "1023 bytes"], [4096, "4.00 KiB"], [57 * MIB, "57.0 MiB"], [1023.6 * MIB, "1.00 GiB"],
                             [1536 * MIB, "1.50 GiB"], [-3 * MIB, "\u22123.00 MiB"], [undefined, "\u2013"], [NaN, "\u2013"]])
        assert.equal(format.bytes(n), text);
    assert.equal(format.range(57 * MIB, 57 * MIB), "57.0 MiB");
    assert.equal(format.range(57 * MIB, 80 * MIB), "57.0 to 80.0 MiB");
    assert.equal(format.range(900 * MIB, 2048 * MIB), "900 MiB to 2.00 GiB");
    assert.equal(format.percent(1, 0), "\u2013");
    assert.equal(format.several(1, "guest"), "1 guest");
    assert.equal(format.several(2, "process", "processes"), "2 processes");

    /* the socket of a configuration */
    assert.equal(configured_socket("[service]\nsocket = /run/a.sock\n"), "/run/a.sock");
    assert.equal(configured_socket("[service]\nsocket = /run/a.sock ; here\n"), "/run/a.sock");
    assert.equal(configured_socket("[service]\n#socket = /run/a.sock\nsocket_group = kvm\n[libvirt]\nsocket = /b\n"), null);
    assert.equal(configured_socket(null), null);

    /* trouble first, each with its text */
    assert.deepEqual(model.notices(status()), []);
    const all = model.notices(status({
        trouble: "ksmtuned runs", undo_pending: "no room", scan: { stage: "burst", silent_ms: 300000 }, ksm_taken: false,
        kept: { bytes: MIB, processes: 1 }, overcommit: { bytes: 0, max_bytes: 1, limit_reached: true },
        libvirt: { connections: [{ uri: "qemu:///system", connected: false, text: "refused" }] },
    }));
    assert.deepEqual(all.map(n => n.kind), ["danger", "warning", "warning", "warning", "warning", "info"]);
    assert.ok(all[0].text === "ksmtuned runs" && all[1].text === "no room" && all[2].text.includes("5 minutes"));

    /* what was not known is not shown as none */
    assert.equal(model.saving_unknown(status()), null);
    assert.match(model.saving_unknown(status({ ksm_taken: false, effective: "observe", saving: { saved_bytes: 0 } })), /mode observe/);
    const points = [{ at: 60, mode: "observe", saved_bytes: 0, net_saved_bytes: 0, could_save_bytes: 5, memory_available_bytes: 9, cpu_seconds: 1, ksmd_cpu_seconds: 0 },
                    { at: 120, mode: "save", saved_bytes: 7, net_saved_bytes: 6, could_save_bytes: 8, memory_available_bytes: 9, cpu_seconds: 4, ksmd_cpu_seconds: 3 },
                    { at: 180, mode: "save", saved_bytes: 7, net_saved_bytes: 6, could_save_bytes: 8, memory_available_bytes: 9, cpu_seconds: 1, ksmd_cpu_seconds: 0 },
                    { at: 9180, mode: "save", saved_bytes: 7, net_saved_bytes: 6, could_save_bytes: 8, memory_available_bytes: 9, cpu_seconds: 90, ksmd_cpu_seconds: 0 }];
    const c = model.columns_of(points, 60);
    assert.deepEqual(c.saved, [null, 7, 7, 7]);
    assert.deepEqual(c.cpu, [null, 10, null, null]); /* began anew; and points are missing */

    /* answers */
    assert.match(model.outcome({ status: 200, problem: null, message: "" }, "Mode save").title, /done/);
    assert.match(model.outcome({ status: 202, problem: null, message: "" }, "Mode save").text, /goes on by itself/);
    assert.equal(model.outcome({ status: 409, problem: null, message: "ask later" }, "Diagnose").kind, "warning");
    assert.match(model.outcome({ status: 507, problem: null, message: "no room" }, "Mode off").title, /refused/);
    assert.match(model.outcome({ status: 0, problem: "terminated", message: "gone" }, "Mode off").title, /not known whether/);
    assert.match(model.outcome({ status: 0, problem: "not-found", message: "" }, "Mode off").title, /not done/);
    for (const problem of ["access-denied", "not-found", "terminated", "timeout", null])
        assert.ok(model.unreachable({ problem, message: "why" }, "/run/s", true).title);

    /* what a change does */
    const off = model.mode_effect("off", "", status()).join(" ");
    assert.ok(off.includes("60.0 MiB") && off.includes("1000 MiB are available"));
    assert.match(model.mode_effect("off", "", status({ memory: { available_bytes: MIB } })).join(" "), /not enough/);
    assert.match(model.mode_effect("off", "keep", status()).join(" "), /stay shared/);
    assert.match(model.mode_effect("save", "", status()).join(" "), /saves 60.0 to 80.0 MiB/);
    for (const mode of model.MODES)
        assert.ok(model.mode_effect(mode, "", status()).length > 0);

    /* heat and skew: cells add up to what is hot, warm, cold and undecided */
    const picture = model.heat_picture({
        heat: { hot: 5, warm: 1, cold: 7, undecided: 0 }, hot_base_pages_histogram: { 0: 1, 1: 0, "2-3": 3, 512: 0 },
        hot_base_pages_by_heat: { hot: { "2-3": 3 }, warm: {}, cold: { 0: 1 }, undecided: {} },
    });
    assert.deepEqual(picture.columns, ["not looked into", "0", "1", "2-3", "512"]);
    assert.deepEqual(picture.rows.map(r => r.cells), [[2, 0, 0, 3, 0], [1, 0, 0, 0, 0], [6, 1, 0, 0, 0], [0, 0, 0, 0, 0]]);
    assert.equal(picture.most, 6);
}

const [what, ...args] = process.argv.slice(2);
switch (what) {
case "api":
    api(JSON.parse(readFileSync(args[0], "utf8")));
    break;
case "words":
    words();
    break;
case "syntax":
    assert.ok(args.length > 10);
    for (const file of args)
        new SourceTextModule(readFileSync(file, "utf8"), { identifier: file }); /* read, not run */
    break;
default:
    assert.fail(`what is ${what}?`);
}
