// F.3 row 10, what the official JavaScript package puts on the wire: `Access-Control-Allow-Origin` as a request header,
// `base64: false`, pictures as raw base64 without a prefix.

import axios from 'axios';
import { base, base64, given, key, MODEL, report } from './report.mjs';

const { material_image: material, subject_image: subject, ...rest } = given();
const raw = (uri) => uri.split(',')[1];
const answer = await axios.post(
  `${base}/v1/${MODEL}`,
  { ...rest, material_image: raw(material), subject_image: raw(subject), base64: false },
  {
    headers: { 'x-api-key': key, 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*' },
    responseType: 'arraybuffer',
  },
);
report({ status: answer.status, type: answer.headers['content-type'], body: base64(answer.data) });
