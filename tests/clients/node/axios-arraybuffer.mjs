// F.3 row 9, as in browser apps on axios: `responseType: "arraybuffer"`, numbers as strings, parameters of other models,
// and the bytes put into a Blob that calls them JPEG whatever they are.

import axios from 'axios';
import { base, base64, given, key, MODEL, report } from './report.mjs';

const data = {
  ...given(),
  steps: '1',
  guidance_scale: '7.5',
  seed: '17123564234',
  shape: 'square',
  scheduler: 'UniPC',
  samples: '1',
};
try {
  const answer = await axios.post(`${base}/v1/${MODEL}`, data, {
    headers: { 'x-api-key': key },
    responseType: 'arraybuffer',
  });
  const blob = new Blob([answer.data], { type: 'image/jpeg' });
  report({ status: answer.status, headers: { ...answer.headers }, body: base64(await blob.arrayBuffer()) });
} catch (error) {
  // With `arraybuffer` the error body arrives as bytes, and such apps decode it themselves.
  const body = JSON.parse(Buffer.from(error.response.data).toString('utf8'));
  report({ status: error.response.status, error: body.error });
}
