// F.3 row 9 in a real browser: a page on another origin posts, reads the picture and the exposed headers, polls a queued
// job, and draws its output file on a canvas that stays readable. Prints what the page saw.

import { createServer } from 'node:http';
import { launch } from './chromium.mjs';
import { base, given, key, MODEL, report } from './report.mjs';

const { executable, body } = given();

// Runs inside the page. Everything that it uses comes in as its argument.
async function visit({ base, key, model, body }) {
  const headers = { 'x-api-key': key, 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*' };
  const shown = (url) =>
    new Promise((done, failed) => {
      const image = new Image();
      image.crossOrigin = 'anonymous';
      image.onload = () => done(image);
      image.onerror = () => failed(new Error(`cannot show ${url}`));
      image.src = url;
    });
  const post = (version, what) =>
    fetch(`${base}/${version}/${model}`, { method: 'POST', headers, body: JSON.stringify(what) });

  const answer = await post('v1', body);
  const blob = new Blob([await answer.arrayBuffer()], { type: 'image/jpeg' });
  const picture = await shown(URL.createObjectURL(blob));
  const v1 = {
    status: answer.status,
    type: answer.headers.get('content-type'),
    width: picture.naturalWidth,
    height: picture.naturalHeight,
    exposed: Object.fromEntries(
      ['x-request-id', 'x-seed-value', 'x-generation-time', 'x-remaining-credits', 'x-cost', 'x-output-metadata'].map(
        (name) => [name, answer.headers.get(name)],
      ),
    ),
  };

  const refused = await post('v1', { ...body, steps: 0 });
  const stranger = await fetch(`${base}/v1/${model}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{}',
  });
  const errors = [
    { status: refused.status, body: await refused.json() },
    { status: stranger.status, body: await stranger.json() },
  ];

  const job = await (await post('v2', body)).json();
  let state = job.status;
  while (state === 'QUEUED' || state === 'PROCESSING') {
    await new Promise((done) => setTimeout(done, 100));
    state = (await (await fetch(job.status_url, { headers: { 'x-api-key': key } })).json()).status;
  }
  // A job of its own, followed from its start to its end. The browser comes back after the last event, is told that there is no
  // more (204), and stops.
  const followed = await (await post('v2', body)).json();
  const events = await new Promise((done) => {
    const [source, states] = [new EventSource(followed.events_url), []];
    source.addEventListener('status', (event) => states.push(JSON.parse(event.data)));
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) done({ states: states.map(({ status }) => status), last: states.at(-1), id: followed.request_id });
    });
  });
  const locked = await new Promise((done) => {
    const source = new EventSource(followed.events_url.split('?')[0]);
    source.addEventListener('open', () => done(false));
    source.addEventListener('error', () => done(source.readyState === EventSource.CLOSED));
  });

  const result = await (await fetch(job.response_url, { headers: { 'x-api-key': key } })).json();
  const output = await shown(result.output);
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [output.naturalWidth, output.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(output, 0, 0);
  // Throws where the file's answer lacks its CORS header.
  const drawn = context.getImageData(0, 0, canvas.width, canvas.height).data.length;
  const gone = await fetch(`${base}/v2/requests/00000000-0000-0000-0000-000000000000`, { headers: { 'x-api-key': key } });
  errors.push({ status: gone.status, body: await gone.json() });
  return { origin: location.origin, v1, errors, v2: { state, output: result.output, drawn }, events, locked };
}

const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>'));
await new Promise((ready) => site.listen(0, '127.0.0.1', ready));
const browser = await launch(executable);
try {
  const page = await browser.newPage();
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  const seen = await page.evaluate(visit, { base, key, model: MODEL, body });
  report({ ...seen, complaints, version: browser.version() });
} finally {
  await browser.close();
  site.close();
}
