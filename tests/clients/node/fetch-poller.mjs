// F.3 row 12: a poller on Node's own fetch that builds its addresses by hand from the id, goes on after 404, 408, 425,
// 429 and 5xx, takes 422 for failed, and tells a picture from JSON by the content type of the result.

import { base, base64, given, key, MODEL, report, sleep } from './report.mjs';

const TRY_AGAIN = new Set([404, 408, 425, 429, 500, 502, 503, 504]);
const headers = { 'x-api-key': key };

async function poll(id) {
  const states = [];
  for (let left = 300; left > 0; left -= 1) {
    const answer = await fetch(`${base}/v2/requests/${id}/status`, { headers });
    if (TRY_AGAIN.has(answer.status)) {
      states.push(answer.status);
    } else if (answer.status === 422) {
      return { states, failed: (await answer.json()).error };
    } else {
      const { status } = await answer.json();
      states.push(status);
      if (status === 'COMPLETED') return { states };
      if (status !== 'QUEUED' && status !== 'PROCESSING') return { states, failed: `unexpected ${status}` };
    }
    await sleep(100);
  }
  return { states, failed: 'gave up' };
}

const submitted = await fetch(`${base}/v2/${MODEL}`, {
  method: 'POST',
  headers: { ...headers, 'Content-Type': 'application/json' },
  body: JSON.stringify(given()),
});
const { request_id: id, error } = await submitted.json();
if (!submitted.ok) {
  report({ refused: submitted.status, error });
} else {
  const ended = await poll(id);
  const answer = await fetch(`${base}/v2/requests/${id}`, { headers });
  const type = answer.headers.get('content-type');
  const binary = /^(image|video)\/|octet-stream/.test(type);
  const result = binary ? null : await answer.json();
  const url = result?.output ?? result?.images?.[0]?.url;
  const picture = url ? base64(await (await fetch(url)).arrayBuffer()) : null;
  report({ ...ended, id, type, result, picture });
}
