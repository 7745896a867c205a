// F.3 row 13: tries one key after the other on axios; reads `message` before `error`, goes to the next key on 401, 402,
// 403, 406 and 429, upper-cases the state, and takes 422 for failed, reading only `message` there.

import axios from 'axios';
import { base, given, MODEL, report, sleep } from './report.mjs';

const { keys, body } = given();
const NEXT_KEY = new Set([401, 402, 403, 406, 429]);
const tried = [];

async function finish(key, id) {
  for (;;) {
    const { status: code, data } = await axios.get(`${base}/v2/requests/${id}/status`, {
      headers: { 'x-api-key': key },
      validateStatus: () => true,
    });
    if (code === 422) return { state: 'FAILED', reason: data.message ?? null, error: data.error };
    const state = String(data.status).toUpperCase();
    if (state === 'COMPLETED') {
      const result = await axios.get(`${base}/v2/requests/${id}`, { headers: { 'x-api-key': key } });
      return { state, output: result.data.output };
    }
    await sleep(100);
  }
}

let outcome = null;
for (const key of keys) {
  const answer = await axios.post(`${base}/v2/${MODEL}`, body, {
    headers: { 'x-api-key': key },
    validateStatus: () => true,
  });
  tried.push({ status: answer.status, reason: answer.data.message || answer.data.error || null });
  if (answer.status === 200) {
    outcome = await finish(key, answer.data.request_id);
    break;
  }
  if (!NEXT_KEY.has(answer.status)) break;
}
report({ tried, outcome });
