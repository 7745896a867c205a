// The blocking call with Node's own fetch, which breaks on a repeated `100 Continue` and has a User-Agent of its own.

import { base, base64, given, key, MODEL, report } from './report.mjs';

const begun = Date.now();
const answer = await fetch(`${base}/v1/${MODEL}`, {
  method: 'POST',
  headers: { 'x-api-key': key, 'Content-Type': 'application/json' },
  body: JSON.stringify(given()),
});
report({
  status: answer.status,
  headers: Object.fromEntries(answer.headers),
  body: base64(await answer.arrayBuffer()),
  seconds: (Date.now() - begun) / 1000,
});
