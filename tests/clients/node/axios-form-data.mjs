// F.3 row 11, the older sample of the page: axios with a form-data body; pictures as strings or as files.

import axios from 'axios';
import FormData from 'form-data';
import { base, base64, given, key, MODEL, report } from './report.mjs';

const { fields, files } = given();
const form = new FormData();
for (const [name, value] of Object.entries(fields)) form.append(name, String(value));
for (const [name, value] of Object.entries(files)) {
  form.append(name, Buffer.from(value, 'base64'), { filename: `${name}.png`, contentType: 'image/png' });
}
const answer = await axios.post(`${base}/v1/${MODEL}`, form, {
  headers: { 'x-api-key': key, ...form.getHeaders() },
  responseType: 'arraybuffer',
  validateStatus: () => true,
});
report({ status: answer.status, type: answer.headers['content-type'], body: base64(answer.data) });
