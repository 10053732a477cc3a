/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service's API (docs/openapi.yaml), asked through Cockpit's bridge on the service's UNIX socket. Root's rights are
 * Cockpit's: "try" takes them where the operator has them, and asks as the user otherwise, who may be in the socket's group.
 * Every answer comes as { status, data, message, problem }: nothing is thrown, what failed is an answer like others.
 */
/* global cockpit */

const CONFIGURATION = "/etc/hs-share/hs-share.conf";
const SOCKET = "/run/hs-share/control.sock";

/* "socket" in [service] of a configuration; null: it names none. */
export function configured_socket(text) {
    let section = "";
    let found = null;
    for (const line of (text || "").split("\n")) {
        const head = /^\s*\[([^\]]+)\]/.exec(line);
        const key = /^\s*socket\s*=\s*(\S.*?)\s*(?:\s[;#].*)?$/.exec(line);
        if (head)
            section = head[1].trim();
        else if (key && section === "service")
            found = key[1];
    }
    return found;
}

function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

export class Api {
    constructor() {
        this.socket = SOCKET;
        this.http = null;
    }

    /* The configuration may name another socket. Where it cannot be read, the default holds. */
    async open() {
        const file = cockpit.file(CONFIGURATION, { superuser: "try" });
        let text = null;
        try {
            text = await file.read();
        } catch {
            /* no rights, or none there */
        }
        file.close();
        this.socket = configured_socket(text) || SOCKET;
        this.http?.close();
        this.http = cockpit.http(this.socket, { superuser: "try" });
    }

    request(method, path, { params, body } = {}) {
        return new Promise(resolve => {
            let status = 0;
            const options = { method, path, params, body: body ? JSON.stringify(body) : "" };
            if (body)
                options.headers = { "Content-Type": "application/json" };
            const request = this.http.request(options);
            request.response(s => {
                status = s;
            });
            request.then(
                text => {
                    const data = parsed(text);
                    resolve({ status: status || 200, data, message: data?.message || "", problem: null });
                },
                (problem, text) => {
                    const data = parsed(text);
                    resolve({
                        status: problem.status || 0,
                        data,
                        message: data?.error?.message || problem.message || String(problem.problem || ""),
                        problem: problem.status ? null : problem.problem || "internal-error",
                    });
                });
        });
    }

    status() { return this.request("GET", "/v1/status"); }
    guests() { return this.request("GET", "/v1/guests"); }
    guest(id) { return this.request("GET", `/v1/guests/${encodeURIComponent(id)}`); }
    report() { return this.request("GET", "/v1/report"); }
    look() { return this.request("GET", "/v1/report/look"); }
    history(params) { return this.request("GET", "/v1/history", { params }); }
    diagnose() { return this.request("GET", "/v1/diagnose"); }

    set_mode(mode, sharing) { return this.request("PUT", "/v1/mode", { body: sharing ? { mode, sharing } : { mode } }); }
    opt_in(id, what) { return this.request("PUT", `/v1/guests/${encodeURIComponent(id)}/opt-in`, { body: what }); }
    opt_out(id) { return this.request("DELETE", `/v1/guests/${encodeURIComponent(id)}/opt-in`); }
    unshare(id) { return this.request("POST", `/v1/guests/${encodeURIComponent(id)}/unshare`); }
    unshare_all() { return this.request("POST", "/v1/unshare"); }
    ask_look() { return this.request("POST", "/v1/report/look"); }
}
