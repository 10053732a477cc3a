/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A browser with the plugin's page behind a cockpit-ws of its own, and checks that are counted. What is waited for is a condition,
 * for a minute at most. (cockpit-ws with --local-session has one session, which ends with the browser: so each has its own.)
 */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { chromium } from "playwright-core";

const COCKPIT_WS = "/usr/lib/cockpit/cockpit-ws";
const BRIDGE = "/usr/bin/cockpit-bridge";

const LONG = 60000;
let passed = 0;
let failed = 0;

export function ok(what, condition, more = "") {
    if (condition) {
        passed++;
    } else {
        failed++;
        console.log(`FAILED: ${what} ${more}`);
    }
    return condition;
}

export async function until(what, condition, ms = LONG) {
    const end = Date.now() + ms;
    let last = "";
    while (Date.now() < end) {
        try {
            if (await condition())
                return ok(what, true);
        } catch (error) {
            last = String(error).split("\n")[0];
        }
        await new Promise(r => setTimeout(r, 200));
    }
    return ok(what, false, last);
}

function free_port() {
    return new Promise(resolve => {
        const server = createServer().listen(0, "127.0.0.1", () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });
}

export class Page {
    /* as: a command that runs cockpit-ws as somebody else. style: what Cockpit's own menu has chosen. */
    static async open({ dark = false, width = 1280, height = 900, style, as = [] } = {}) {
        const it = new Page();
        const port = await free_port();
        const [program, ...args] = [...as, COCKPIT_WS, "--no-tls", "--address", "127.0.0.1", "--port", String(port), "--local-session", BRIDGE];
        const url = `http://127.0.0.1:${port}`;
        it.web = spawn(program, args, { env: { ...process.env, LC_ALL: "C.UTF-8" }, stdio: "ignore" });
        await until("cockpit-ws answers", async () => (await fetch(`${url}/`)).status < 500);
        it.browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"], timeout: LONG });
        it.context = await it.browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", locale: "en-GB", deviceScaleFactor: 1 });
        it.context.setDefaultTimeout(LONG);
        if (style)
            await it.context.addInitScript(s => window.localStorage.setItem("shell:style", s), style);
        it.page = await it.context.newPage();
        it.errors = [];
        it.page.on("pageerror", e => it.errors.push(String(e.stack || e)));
        it.page.on("console", m => m.type() === "error" && it.errors.push(m.text()));
        await it.page.goto(`${url}/cockpit/@localhost/hs-share/index.html`);
        return it;
    }

    text(selector) { return this.page.locator(selector).innerText(); }
    count(selector) { return this.page.locator(selector).count(); }
    row(guest) { return `tr[data-guest="${guest}"]`; }
    focused() { return this.page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || ""); }
    width_needed() { return this.page.evaluate(() => document.documentElement.scrollWidth); }

    ready() { return until("the page shows what the service says", async () => (await this.text("#state")).startsWith("Mode ")); }

    async picture(name, full = true) {
        if (!process.env.PICTURES)
            return;
        mkdirSync(process.env.PICTURES, { recursive: true });
        await this.page.screenshot({ path: `${process.env.PICTURES}/${name}.png`, fullPage: full, animations: "disabled" });
    }

    async close(expect_errors = false) {
        if (!expect_errors)
            ok("nothing is said in the browser's console", this.errors.length === 0, this.errors.join("\n"));
        await this.browser.close();
        this.web.kill("SIGTERM");
    }
}

export function fail(error) {
    failed++;
    console.log(`FAILED: ${error.stack || error}`);
}

export function finish() {
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed ? 1 : 0);
}
