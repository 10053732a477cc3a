/* SPDX-License-Identifier: Apache-2.0 */
/* The scenes of page.sh. usage: page.mjs SCENE ARGUMENT... */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fail, finish, ok, Page, until } from "./browser.mjs";

const [scene, ...rest] = process.argv.slice(2);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDE = { width: 1280, height: 900 };
const PID = "dialog input[inputmode=numeric]:not([type=number])";
const PHONE = { width: 360, height: 740 };

/* In the dialog that is open: what it says it will do, all of it as one text. */
const effect = p => p.text("dialog .effect ul");

async function opt_in(p, pid, group) {
    await p.page.click("#opt-in-process");
    await p.page.fill(PID, String(pid));
    await p.page.getByRole("textbox", { name: "Trust group" }).fill(group);
    ok("what opting in does is said first", /trust|group/i.test(await effect(p)), await effect(p));
    await p.page.click("dialog button[type=submit]");
    await until(`pid-${pid} is listed as opted in`, async () => (await p.text(`${p.row(`pid-${pid}`)} td[data-label=Group]`)).includes(group));
    await until("its outcome is said", async () => (await p.text("#outcomes")).includes(`Opt in pid-${pid}: done`));
}

async function set_mode(p, mode, sharing) {
    await p.page.click("#set-mode");
    await p.page.check(`dialog input[name=mode][value=${mode}]`);
    if (sharing)
        await p.page.check(`dialog input[name=sharing][value=${sharing}]`);
    const said = await effect(p);
    await p.page.click("dialog button[type=submit]");
    await until(`mode ${mode} is shown`, async () => (await p.text("#state")).startsWith(`Mode ${mode}`));
    return said;
}

/* Axe's rules for WCAG 2.1 A and AA. */
async function axe(p, where) {
    const found = await p.page.evaluate(`(() => { const module = undefined, define = undefined; ${AXE}; })(); window.axe.run(document,
        { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] })`);
    ok(`axe finds nothing: ${where}`, found.violations.length === 0,
       found.violations.map(v => `\n  ${v.id}: ${v.help}: ${v.nodes.slice(0, 4).map(n => n.target.join(" ") + " " + (n.any[0]?.message || "")).join("; ")}`).join(""));
    ok(`and it looked: ${where}`, found.passes.length > 15, String(found.passes.length));
}

const scenes = {
    /* Nobody answers on the socket. */
    async stopped() {
        const p = await Page.open();
        await until("it says that the service does not run", async () => (await p.text("#connection")).includes("The service does not run"));
        ok("and how to start it", (await p.text("#connection")).includes("systemctl start hs-shared"));
        ok("nothing can be changed", await p.page.isDisabled("#set-mode") && await p.page.isDisabled("#diagnose"));
        ok("no figures are shown", await p.page.isHidden("#content"));
        await axe(p, "the service does not run");
        await p.picture("stopped");
        await p.close(true);
    },

    /* All that is shown, in mode observe. */
    async tour([one, two]) {
        const p = await Page.open();
        await p.ready();
        await opt_in(p, one, "web");
        await opt_in(p, two, "web");
        await until("both are observed", async () => await p.count("td[data-label=State] .chip:has-text('observed')") === 2);
        ok("the reason names the way out", (await p.text(`${p.row(`pid-${one}`)} td[data-reason=observe-only]`)).includes("hs-share mode save"));
        await until("what could be saved is shown as a figure", async () => /MiB/.test(await p.text("[data-figure=could]")));
        for (const part of ["zero", "across"])
            await until(`by where it is found: ${part}`, async () => /[1-9].*MiB/.test(await p.text(`[data-part=${part}] td`)));
        ok("what the guests do not have is none", (await p.text("[data-part=within] td")).startsWith("0"));
        ok("nothing is saved in this mode, and it says why", (await p.text("#overview")).includes("Nothing is shared in mode observe"));
        await until("hot huge pages still whole", async () => /^\d+ of \d+$/.test(await p.text("[data-figure=whole]")));
        ok("there is no overcommit", (await p.text("[data-figure=overcommit]")) === "0 bytes");

        await p.page.click(`${p.row(`pid-${one}`)} .link`);
        await until("the picture of heat and skew", async () => await p.count(".matrix tbody tr") === 4);
        const sum = await p.page.$$eval(".matrix tbody td", cells => cells.reduce((a, c) => a + Number(c.textContent.replace(/,/g, "")), 0));
        const legend = await p.page.$$eval(".heat .legend li", items => items.reduce((a, i) => a + Number(/ ([\d,]+) \(/.exec(i.textContent)[1].replace(/,/g, "")), 0));
        ok("its cells add up to the guest's huge pages by heat", sum > 40 && sum === legend, `${sum} ${legend}`);

        await p.page.getByRole("button", { name: "Look into hot huge pages" }).click();
        ok("what a look does is said first", (await effect(p)).includes("Nothing is shared for it"));
        await p.page.click("dialog button[type=submit]");
        await until("202 is said to be under way", async () => (await p.text("#outcomes")).includes("Look into hot huge pages: under way"));
        await until("the look ends and says what it found", async () => (await p.text("#overview")).includes("The last look found"));
        await until("huge pages that were looked into are in the picture", async () =>
            await p.page.$$eval(".matrix tbody td:not(:nth-child(2))", cells => cells.some(c => Number(c.textContent) > 0)));

        await until("charts are drawn", async () => await p.count("#charts canvas") === 3);
        ok("with what they show in words", (await p.page.locator("#charts .for-readers").first().textContent()).includes("net saved"));
        await p.page.click("#history-table-toggle");
        await until("and as a table", async () => await p.count("#history-table tbody tr") > 1);
        await p.page.click("#history-table-toggle");

        await p.page.click("#diagnose");
        await until("diagnose has findings", async () => await p.count(".findings li[data-level]") > 5);
        ok("the focus is on them", await p.focused() === "diagnosis-title");
        await p.page.click("#diagnosis-close");
        ok("and is given back", await p.focused() === "diagnose");

        await p.page.fill("#filter", `pid-${one}`);
        ok("the filter leaves one", await p.count("tr[data-guest]") === 1 && (await p.text("#guests-shown")).startsWith("1 of 2"));
        await p.page.fill("#filter", "no such guest");
        ok("or none, and says so", await p.page.isVisible("text=No guest fits the filter"));
        await p.page.fill("#filter", "");

        /* What the service refuses is shown in its words. */
        await p.page.click("#opt-in-process");
        await p.page.fill(PID, "999999999");
        await p.page.click("dialog button[type=submit]");
        await until("a refusal is said", async () => (await p.text("#outcomes")).includes("Opt in pid-999999999: refused"));
        await p.page.click("#opt-in-process");
        await p.page.getByRole("textbox", { name: "Trust group" }).fill("a b");
        await p.page.fill(PID, String(two));
        await p.page.click("dialog button[type=submit]");
        ok("a wrong group is not sent", await p.page.isVisible("dialog"));
        await p.page.keyboard.press("Escape");
        await until("Escape closes the dialog", async () => await p.count("dialog") === 0);
        await p.close(true); /* the browser's console has the refusal's status */
    },

    /* From the top of the page to a mode that is set and a guest that is opened, without a mouse. */
    async keyboard([one]) {
        const p = await Page.open();
        await p.ready();
        const on = selector => p.page.evaluate(s => document.activeElement.matches(s), selector);
        const tab = async (what, selector) => {
            for (let i = 0; i < 60; i++) {
                if (await on(selector))
                    return ok(what, true);
                await p.page.keyboard.press("Tab");
            }
            return ok(what, false, `the focus is on ${await p.focused()}`);
        };
        const name = `${p.row(`pid-${one}`)} .link`;
        const seen = () => p.page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none");
        await until("a guest is listed", async () => await p.count(p.row(`pid-${one}`)) === 1);
        await tab("the mode is reached by Tab", "#set-mode");
        ok("the focus can be seen", await seen());
        await p.page.keyboard.press("Enter");
        await until("Enter opens the dialog", async () => await p.page.isVisible("dialog"));
        ok("the focus is in it, on the mode that is set", await p.page.evaluate(() => document.activeElement.matches("dialog input[name=mode]:checked")));
        for (let i = 0; i < 12; i++) {
            await p.page.keyboard.press("Tab");
            if (!await p.page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("dialog") !== null))
                ok("Tab stays in the dialog", false, await p.focused());
        }
        await p.page.keyboard.press("Escape");
        await until("Escape closes it", async () => await p.count("dialog") === 0);
        ok("the focus is back where it was", await p.focused() === "set-mode");
        await p.page.keyboard.press("Enter");
        await until("again", async () => await p.page.isVisible("dialog"));
        await p.page.keyboard.press("ArrowDown");
        await p.page.keyboard.press("ArrowDown");
        const mode = await p.page.evaluate(() => document.activeElement.value);
        ok("the arrow keys choose a mode", mode === "auto", mode);
        ok("and what it does changes with it", (await effect(p)).includes("short of memory"));
        await p.page.keyboard.press("ArrowUp");
        await p.page.keyboard.press("ArrowUp");
        await p.page.keyboard.press("Enter");
        await until("Enter sets it", async () => (await p.text("#outcomes")).includes("Mode observe: done"));
        await tab("a guest is reached by Tab", name);
        ok("the focus can be seen there", await seen());
        await p.page.keyboard.press("Enter");
        await until("Enter opens the guest", async () => await p.count(".matrix") === 1);
        ok("the guest keeps the focus, and is said to be open",
           await p.page.evaluate(() => document.activeElement.getAttribute("aria-expanded") === "true"));
        const before = await p.text("#overview");
        await until("new figures come", async () => await p.text("#overview") !== before);
        ok("new figures take the focus from nobody", await on(name));
        await tab("the picture can be reached, to scroll it", ".heat .scroll");
        await p.close(true);
    },

    /* By axe, in both themes, wide and on a phone; and without a scroll bar sideways. */
    async accessible([name, one]) {
        const options = { light: WIDE, dark: { ...WIDE, dark: true }, phone: PHONE, "phone-dark": { ...PHONE, dark: true },
                          "shell-dark": { ...WIDE, style: "dark" } }[name];
        const p = await Page.open(options);
        await p.ready();
        await until("a guest is listed", async () => await p.count(p.row(`pid-${one}`)) === 1);
        await p.page.click(`${p.row(`pid-${one}`)} .link`);
        await until("it is opened", async () => await p.count(".matrix") === 1);
        await until("charts are drawn", async () => await p.count("#charts canvas") === 3);
        const dark = await p.page.evaluate(() => document.documentElement.classList.contains("pf-v5-theme-dark"));
        ok(`${name}: the theme`, dark === name.includes("dark"));
        await p.page.evaluate(() => document.activeElement.blur());
        await p.page.mouse.move(0, 0);
        await axe(p, name);
        ok(`${name}: no scrolling sideways`, await p.width_needed() <= options.width, `${await p.width_needed()} > ${options.width}`);
        await p.picture(`observe-${name}`);
        await p.page.click("#diagnose");
        await until("findings", async () => await p.count(".findings li[data-level]") > 5);
        await axe(p, `${name}, diagnose`);
        ok(`${name}: nor with findings`, await p.width_needed() <= options.width);
        await p.picture(`diagnose-${name}`, false);
        await p.page.click("#set-mode");
        await axe(p, `${name}, dialog`);
        await p.picture(`mode-${name}`, false);
        await p.page.keyboard.press("Escape");
        await p.close();
    },

    /* The service goes away while the page is open, and comes again: page.sh does so when it finds the files. */
    async away([folder]) {
        const p = await Page.open();
        await p.ready();
        await until("guests are listed", async () => await p.count("tr[data-guest]") > 0);
        writeFileSync(`${folder}/seen-running`, "");
        await until("it says that the service has stopped", async () => (await p.text("#connection")).includes("The service has stopped"), 300000);
        ok("and as of when the figures are", (await p.text("#connection")).includes("What is shown below is as of"));
        ok("nothing can be changed", await p.page.isDisabled("#set-mode"));
        ok("nor of a guest", await p.page.isDisabled(".row-actions button >> nth=0"));
        ok("the figures stay", await p.page.isVisible("#overview"));
        await p.picture("away");
        writeFileSync(`${folder}/seen-stopped`, "");
        await until("it finds the service again by itself", async () => (await p.text("#connection")) === "" && await p.page.isEnabled("#set-mode"), 300000);
        ok("guests can be changed again", await p.page.isEnabled(".row-actions button >> nth=0"));
        ok("it was stopped meanwhile", existsSync(`${folder}/was-stopped`));
        await p.close(true);
    },

    /* A user who may not use the socket. */
    async denied() {
        const p = await Page.open({ as: ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] });
        await until("it says that administrative access is needed", async () => (await p.text("#connection")).includes("Administrative access is needed"));
        ok("no figures are shown", await p.page.isHidden("#content"));
        await axe(p, "denied");
        await p.picture("denied");
        await p.close(true);
    },

    /* Opt in, save, see the saving rise, switch off, see it undone. */
    async save([one, two]) {
        const p = await Page.open();
        await p.ready();
        await opt_in(p, one, "web");
        await opt_in(p, two, "web");
        await until("what could be saved is known", async () => /MiB/.test(await p.text("[data-figure=could]")));
        const said = await set_mode(p, "save");
        ok("what saving does is said first", /saves [1-9].*MiB/.test(said) && said.includes("KSM"), said);
        await until("both share", async () => await p.count("td[data-label=State] .chip:has-text('sharing')") === 2, 300000);
        await until("the saving rises", async () => /^[1-9].*MiB$/.test(await p.text("[data-figure=net]")), 300000);
        await until("it is overcommit", async () => /^[1-9].*MiB$/.test(await p.text("[data-figure=overcommit]")));
        await until("each guest's saving is shown", async () => /MiB, net/.test(await p.text(`${p.row(`pid-${one}`)} td[data-label=Saved]`)));
        await p.page.click(`${p.row(`pid-${one}`)} .link`);
        await until("the picture", async () => await p.count(".matrix tbody tr") === 4);
        await until("the chart knows of it", async () => /net saved: .*MiB/.test(await p.page.locator("#charts .for-readers").first().textContent()));
        await p.picture("save-light");
        for (const [name, options] of [["save-dark", { ...WIDE, dark: true }], ["save-phone", PHONE]]) {
            if (!process.env.PICTURES)
                break;
            const other = await Page.open(options);
            await other.ready();
            await until("guests", async () => await other.count("tr[data-guest]") === 2);
            await other.page.click(`${other.row(`pid-${one}`)} .link`);
            await until("its picture", async () => await other.count(".matrix") === 1);
            await until("its charts", async () => await other.count("#charts canvas") === 3);
            await other.picture(name);
            await other.close();
        }

        await p.page.getByRole("button", { name: `Opt out pid-${two}` }).click();
        ok("what opting out does is said first", /takes up to .*MiB of memory/.test(await effect(p)), await effect(p));
        await p.page.click("dialog button[type=submit]");
        await until("it is out", async () => (await p.text(`${p.row(`pid-${two}`)} td[data-label=State]`)).includes("not opted in"), 300000);
        const off = await set_mode(p, "off");
        ok("what switching off does is said first", off.includes("undone"), off);
        await until("it is done", async () => (await p.text("#outcomes")).includes("Mode off: done"), 300000);
        await until("nothing is saved any more", async () => (await p.text("[data-figure=net]")) === "Nothing");
        await until("there is no overcommit any more", async () => (await p.text("[data-figure=overcommit]")) === "0 bytes", 300000);
        ok("no trouble is left", await p.text("#notices") === "", await p.text("#notices"));
        await p.close();
    },
};

try {
    await scenes[scene](rest);
} catch (error) {
    fail(error);
}
finish();
