/* Drives one page of Chromium for a test in another language: a command in
 * JSON a line on standard input, an answer a line on standard output.
 * drive.js MODULES CHROMIUM */
"use strict";

const [modules, executablePath] = process.argv.slice(2);
const { chromium } = require(`${modules}/playwright-core`);
const axe = require.resolve(`${modules}/axe-core`);
/* Of the page that is open: one that was closed may be heard once more. */
let complaints = [];
let browser;
let page;

const COMMANDS = {
  async open({ url, width, height, scheme }) {
    if (page) await page.close();
    const own = [];
    complaints = own;
    page = await browser.newPage({ viewport: { width, height },
      colorScheme: scheme, acceptDownloads: true, bypassCSP: false });
    page.setDefaultTimeout(15000);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()))
        own.push(message.text());
    });
    page.on("pageerror", (error) => own.push(error.message));
    await page.goto(url);
  },
  run: ({ code }) => page.evaluate(code),
  /* Playwright's own would be eval within the page, which its policy bars. */
  async until({ code }) {
    const end = Date.now() + 15000;
    while (!(await page.evaluate(code))) {
      if (Date.now() > end) throw new Error(`it did not happen: ${code}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  },
  click: ({ at }) => page.click(at),
  press: ({ key }) => page.keyboard.press(key),
  type: ({ at, text }) => page.fill(at, text),
  choose: async ({ at, value }) => { await page.selectOption(at, value); },
  async download({ at }) {
    const [file] = await Promise.all([page.waitForEvent("download"),
      page.click(at)]);
    return require("fs").readFileSync(await file.path(), "utf8");
  },
  shot: async ({ path }) => {
    await page.screenshot({ path, fullPage: true });
  },
  /* Outside of the page's own policy, as a browser's extension would. */
  async axe() {
    const source = require("fs").readFileSync(axe, "utf8");
    await page.evaluate(source);
    const found = await page.evaluate("axe.run()");
    return found.violations.map((v) =>
      `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`);
  },
  complaints: () => complaints.splice(0),
};

async function main() {
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  console.log(JSON.stringify({ ready: true }));
  const lines = require("readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const command = JSON.parse(line);
    try {
      const value = await COMMANDS[command.do](command);
      console.log(JSON.stringify({ value: value === undefined ? null : value }));
    } catch (error) {
      console.log(JSON.stringify({ error: String(error) }));
    }
  }
  await browser.close();
}

main();
