// The server's own pages as people use them: a whole transfer, a failure, a cancel, a page that is closed, a key; and
// axe-core over each of them, in light and dark, wide and narrow. Prints what was seen. With `shots` (a folder), pictures.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { base, given, key, report, sleep } from './report.mjs';
import { launch } from './chromium.mjs';

const { executable, keyed, shots } = given();
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SIZES = { desktop: { width: 1360, height: 960 }, phone: { width: 390, height: 844 } };
const LONG = 200_000;

const browser = await launch(executable);
const complaints = [];

async function open(address, options = {}) {
  const context = await browser.newContext({ viewport: SIZES.desktop, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(address, { waitUntil: 'networkidle' });
  return page;
}

const shown = (page, selector, timeout = 60_000) => page.waitForSelector(selector, { state: 'visible', timeout });
const text = (page, selector) => page.locator(selector).innerText();
const photograph = (page, name, options = {}) =>
  shots ? page.screenshot({ path: `${shots}/${name}.png`, ...options }) : null;
const headers = key ? { 'x-api-key': key } : {};
const statusOf = async (id) => (await fetch(`${base}/v2/requests/${id}/status`, { headers })).json();

/** A range of the page set to a value, as the user's drag would. */
const slide = (page, name, value) =>
  page.locator(`[name="${name}"]`).evaluate((control, value) => {
    control.value = value;
    control.dispatchEvent(new Event('input', { bubbles: true }));
  }, String(value));

async function violations(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
}

/** One whole transfer with the keyboard alone, everything that is shown of it, and the same in all lights and sizes. */
async function transfer() {
  const page = await open(`${base}/`);
  const settings = await page.locator('[name]').evaluateAll((all) => [...new Set(all.map((each) => each.name))]);
  await page.locator('#more summary').click();
  await page.locator('[name="return_intermediate_images"]').check();
  await page.locator('#setting-seed').fill('7');
  await page.locator('input[value="strong"]').check({ force: true });
  const states = [];
  await page.exposeFunction('heard', (state) => states.push(state));
  await page.evaluate(() => new MutationObserver(() => window.heard(document.getElementById('state').textContent))
    .observe(document.getElementById('state'), { childList: true, characterData: true, subtree: true }));
  await page.locator('#run').focus();
  await page.keyboard.press('Enter');
  await shown(page, '#outcome', LONG);
  const sizes = await page.locator('#after').evaluate((image) => [image.naturalWidth, image.naturalHeight]);
  const before = await page.locator('#compare').evaluate((element) => getComputedStyle(element).getPropertyValue('--at').trim());
  await page.locator('#divide').focus();
  await page.keyboard.press('ArrowRight');
  const after = await page.locator('#compare').evaluate((element) => getComputedStyle(element).getPropertyValue('--at').trim());
  const steps = await page.locator('#steps button').allInnerTexts();
  const snippets = {};
  for (const language of ['curl', 'Python', 'JavaScript']) {
    await page.locator(`#language-${language}`).click();
    snippets[language] = await text(page, '#snippet');
  }
  await page.locator('#language-curl').click();
  const seen = { settings, states, sizes, slider: [before, after], steps, snippets, facts: await text(page, '#facts') };
  seen.download = await page.locator('#download').getAttribute('download');
  seen.axe = await everyLook(page, 'result');
  await page.reload({ waitUntil: 'networkidle' });
  seen.kept = await page.locator('#history .entry').count();
  await page.locator('#history .open').first().click();
  await shown(page, '#outcome');
  seen.again = await text(page, '#facts');
  await page.locator('#history .actions button').first().click();
  await page.waitForFunction(() => document.getElementById('setting-seed').value === '7');
  await page.locator('#history .actions button').nth(1).click();
  await page.waitForFunction(() => document.querySelectorAll('#history .entry').length === 0);
  await page.context().close();
  return seen;
}

/** axe-core, and photographs, in light and dark, wide and narrow; and whether anything sticks out on a phone. */
async function everyLook(page, name) {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(viewport);
      const what = `${name} ${size} ${colorScheme}`;
      found.push(...(await violations(page, what)));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${what}: ${wide} pixels too wide`);
      await page.evaluate(() => scrollTo(0, 0));
      await photograph(page, what.replaceAll(' ', '-'), { fullPage: size === 'phone' });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(SIZES.desktop);
  return found;
}

/** A mask painted by hand and a second material: only what was painted changes. */
async function masked() {
  const page = await open(`${base}/`);
  await page.locator('#further summary').click();
  await page.locator('#further-pictures .paint').click();
  await shown(page, '#mask-canvas');
  const box = await page.locator('#mask-canvas').boundingBox();
  const at = (u, v) => [box.x + u * box.width, box.y + v * box.height];
  await page.mouse.move(...at(0.35, 0.5));
  await page.mouse.down();
  await page.mouse.move(...at(0.65, 0.5), { steps: 8 });
  await page.mouse.up();
  const seen = { axe: await violations(page, 'mask board') };
  await photograph(page, 'mask-board');
  await page.locator('#mask-use').click();
  await page.waitForFunction(() => document.querySelector('#further .drop.full'));
  await page.locator('#further input[type="file"]').nth(1).setInputFiles(await drawn(page, 'plain.png', 128));
  await slide(page, 'material_blend', 1);
  seen.snippet = await text(page, '#snippet');
  await page.locator('#run').click();
  await shown(page, '#outcome', LONG);
  seen.change = await page.evaluate(() => {
    const pixels = (id) => {
      const image = document.getElementById(id);
      const canvas = new OffscreenCanvas(640, 640);
      const ink = canvas.getContext('2d');
      ink.drawImage(image, 0, 0, 640, 640);
      return (x, y) => [...ink.getImageData(x * 640 - 8, y * 640 - 8, 16, 16).data];
    };
    const [before, after] = [pixels('before'), pixels('after')];
    const apart = (x, y) => {
      const [a, b] = [before(x, y), after(x, y)];
      return a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;
    };
    return { painted: apart(0.5, 0.5), beside: apart(0.5, 0.8), corner: apart(0.05, 0.05) };
  });
  await photograph(page, 'masked');
  await page.locator('#history .actions button').first().click();
  await page.locator('#further .picture .actions button', { hasText: 'Remove' }).first().click();
  seen.removed = await text(page, '#snippet');
  await page.context().close();
  return seen;
}

/** Two regions with a material each: each changes as its own material says, and nothing else does. */
async function regions() {
  const page = await open(`${base}/`);
  await page.locator('#further summary').click();
  const sides = [0.35, 0.65];
  for (const [at, side] of sides.entries()) {
    await page.locator('#add-region').click();
    await page.locator('#regions .paint').nth(at).click();
    await shown(page, '#mask-canvas');
    const box = await page.locator('#mask-canvas').boundingBox();
    const place = (u, v) => [box.x + u * box.width, box.y + v * box.height];
    await page.mouse.move(...place(side, 0.45));
    await page.mouse.down();
    await page.mouse.move(...place(side, 0.6), { steps: 6 });
    await page.mouse.up();
    await page.locator('#mask-use').click();
    await page.waitForFunction((at) => document.querySelectorAll('#regions .drop')[2 * at].classList.contains('full'), at);
    const material = await drawn(page, `plain-${at}.png`, 128, ['#2040c0', '#c0a020'][at]);
    await page.locator('#regions input[type="file"]').nth(2 * at + 1).setInputFiles(material);
  }
  const seen = { axe: await everyLook(page, 'regions'), snippet: await text(page, '#snippet') };
  seen.alone = await page.locator('#pictures fieldset').nth(1).locator('input').isDisabled();
  await page.locator('#run').click();
  await shown(page, '#outcome', LONG);
  seen.change = await page.evaluate(([left, right]) => {
    const mean = (id, x, y) => {
      const canvas = new OffscreenCanvas(640, 640);
      const ink = canvas.getContext('2d');
      ink.drawImage(document.getElementById(id), 0, 0, 640, 640);
      const pixels = ink.getImageData(x * 640 - 8, y * 640 - 8, 16, 16).data;
      return [0, 1, 2].map((c) => pixels.filter((_, at) => at % 4 === c).reduce((sum, value) => sum + value, 0) / 256);
    };
    const apart = (x, y) => Math.max(...mean('after', x, y).map((value, c) => Math.abs(value - mean('before', x, y)[c])));
    return { left: mean('after', left, 0.5), right: mean('after', right, 0.5), between: apart(0.5, 0.52), corner: apart(0.05, 0.05) };
  }, sides);
  await photograph(page, 'regions-done');
  await page.locator('#remove-region').click();
  await page.locator('#remove-region').click();
  seen.without = await text(page, '#snippet');
  await page.locator('#history .actions button').first().click();
  await page.waitForFunction(() => document.querySelectorAll('#regions .drop.full').length === 4);
  seen.again = await text(page, '#snippet');
  await page.context().close();
  return seen;
}

/** A square picture as a PNG file: of one colour, and a red disc where it is large. */
async function drawn(page, name, side, colour = '#2040c0') {
  const data = await page.evaluate(([side, colour]) => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = side;
    const ink = canvas.getContext('2d');
    ink.fillStyle = colour;
    ink.fillRect(0, 0, side, side);
    ink.fillStyle = '#c04020';
    if (side > 1000) ink.ellipse(side / 2, side / 2, side / 2.2, side / 2.2, 0, 0, 7);
    ink.fill();
    return canvas.toDataURL('image/png');
  }, [side, colour]);
  return { name, mimeType: 'image/png', buffer: Buffer.from(data.split(',')[1], 'base64') };
}

/** A file that is no picture, and a number out of range. */
async function failure() {
  const page = await open(`${base}/`);
  const file = { name: 'notes.png', mimeType: 'image/png', buffer: Buffer.from('this is a letter') };
  await page.locator('#pictures input').first().setInputFiles(file);
  await page.locator('#run').click();
  await shown(page, '#problem');
  const seen = { problem: await text(page, '#problem'), field: await text(page, '#subject_image-problem') };
  seen.axe = await violations(page, 'failure');
  await photograph(page, 'failure');
  await page.locator('[data-example="pumpkin"]').click();
  await page.locator('#more summary').click();
  await page.locator('#setting-max_width').fill('3');
  await page.locator('#run').click();
  await shown(page, '#setting-max_width-problem');
  seen.number = await text(page, '#setting-max_width-problem');
  await page.context().close();
  return seen;
}

/** A job that takes half a minute, until it runs; the id that the server gave it. */
async function longJob(page) {
  await page.locator('#pictures input').first().setInputFiles(await drawn(page, 'large.png', 1900));
  await slide(page, 'steps', 150);
  const submitted = page.waitForResponse((answer) => answer.request().method() === 'POST' && answer.url().includes('/v2/'));
  await page.locator('#run').click();
  const { request_id: id } = await (await submitted).json();
  await page.waitForFunction(() => document.getElementById('state').textContent.startsWith('Working'), null, { timeout: LONG });
  return id;
}

async function ended(id) {
  for (let tries = 0; tries < 100; tries += 1) {
    const state = await statusOf(id);
    if (!['QUEUED', 'PROCESSING'].includes(state.status)) return state;
    await sleep(100);
  }
  return statusOf(id);
}

async function cancel() {
  const page = await open(`${base}/`);
  const id = await longJob(page);
  const found = await violations(page, 'running');
  await photograph(page, 'running');
  await page.locator('#cancel').click();
  await shown(page, '#idle');
  const seen = { axe: found, idle: await text(page, '#idle'), state: await ended(id), enabled: await page.locator('#run').isEnabled() };
  await page.context().close();
  return seen;
}

async function closed() {
  const page = await open(`${base}/`);
  const id = await longJob(page);
  await page.close({ runBeforeUnload: false });
  return ended(id);
}

/** A server with keys: the page asks, refuses a wrong one, remembers the right one, and says so in its snippets. */
async function key_needed() {
  const page = await open(`${keyed.base}/`);
  await shown(page, '#key-dialog');
  const axe = await violations(page, 'key');
  await page.locator('#key').fill('wrong');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.getElementById('key-problem').textContent !== '');
  const refused = await text(page, '#key-problem');
  await photograph(page, 'key');
  await page.locator('#key').fill(keyed.key);
  await page.keyboard.press('Enter');
  await page.locator('#key-dialog').waitFor({ state: 'hidden' });
  await page.reload({ waitUntil: 'networkidle' });
  await page.locator('#run').click();
  await shown(page, '#outcome', LONG);
  const snippet = await text(page, '#snippet');
  await page.context().close();
  return { axe, refused, snippet, leaked: snippet.includes(keyed.key) };
}

/** The reference: chapters in their order, bodies, and its looks. */
async function docs() {
  const page = await open(`${base}/docs`);
  await shown(page, '#errors');
  const seen = { chapters: await page.locator('.chapter h2').allInnerTexts(), routes: await page.locator('.route h3 code').allInnerTexts() };
  seen.bodies = await page.locator('.answer pre').count();
  await page.locator('#contents a', { hasText: 'Parameters' }).click();
  seen.jumped = new URL(page.url()).hash;
  seen.axe = await everyLook(page, 'docs');
  await page.context().close();
  return seen;
}

try {
  const seen = {};
  for (const scenario of [docs, failure, transfer, masked, regions, cancel, closed, key_needed]) seen[scenario.name] = await scenario();
  report({ ...seen, complaints });
} finally {
  await browser.close();
}
