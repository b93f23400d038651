// Runs one script in Debian's Chromium, through playwright-core, for a Go test.
//
// In: one JSON document on stdin: { chromium, script, args, screenshots }.
// Out: one line `result {"value", "console_errors", "screenshots"}` on stdout,
// or a non-zero exit with what went wrong, and a screenshot of the moment.
//
// The script is the body of an async function that sees
//   page         a page of 1280 by 800
//   open(opts)   another page, in a context of its own (other cookies), with
//                playwright's context options: viewport, colorScheme, …
//   shot(name, page)   keeps a screenshot of the whole page as <name>.png
//   args         what the test passed
// and whose return value, as JSON, is the result.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { chromium } from 'playwright-core';

const input = JSON.parse(await text(process.stdin));
const consoleErrors = [];
const screenshots = [];
let last;

const browser = await chromium.launch({
  executablePath: input.chromium,
  args: ['--no-sandbox', '--disable-background-networking', '--disable-sync', '--no-first-run', '--disable-dev-shm-usage'],
});

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  page.on('console', (m) => {
    if (m.type() === 'error') consoleErrors.push(`${m.text()} (${m.location().url})`);
  });
  page.on('pageerror', (err) => consoleErrors.push(`uncaught: ${err.message}`));
  last = page;
  return page;
}

async function shot(name, page = last) {
  if (!/^[\w-]+$/.test(name)) throw new Error(`a screenshot's name is of letters, digits, _ and -: ${name}`);
  mkdirSync(input.screenshots, { recursive: true });
  const path = join(input.screenshots, `${name}.png`);
  await page.screenshot({ path, fullPage: true });
  screenshots.push(path);
}

try {
  const AsyncFunction = (async () => {}).constructor;
  const run = new AsyncFunction('page', 'open', 'shot', 'args', input.script);
  const value = await run(await open(), open, shot, input.args);
  console.log(`result ${JSON.stringify({ value: value ?? null, console_errors: consoleErrors, screenshots })}`);
} catch (err) {
  console.error(err.stack);
  for (const e of consoleErrors) console.error(`the page's console: ${e}`);
  if (last) {
    console.error(`the page was at ${last.url()}`);
    await shot(`failed-${input.name}`, last).then(() => console.error(`screenshot: ${screenshots.at(-1)}`), () => {});
  }
  process.exitCode = 1;
} finally {
  await browser.close();
}
