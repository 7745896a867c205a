// A transfer by openapi-fetch on the types that openapi-typescript makes of the server's document (`schema.d.ts`, made by
// the test beside this file). What does not fit the document does not compile.

import createClient from 'openapi-fetch';
import type { paths } from './schema.js';

/** All of Node that is needed here, so that no further types have to be installed. */
declare const process: { argv: string[] };

const [base, key, subject, material] = process.argv.slice(2) as [string, string, string, string];
const client = createClient<paths>({ baseUrl: base, headers: { 'x-api-key': key } });

const submitted = await client.POST('/v2/material-transfer', {
  body: {
    subject_image: subject,
    material_image: material,
    steps: 1,
    seed: 7,
    max_width: 128,
    output_format: 'png',
  },
});
if (!submitted.data) throw new Error(submitted.error.error);
// The other answer there is belongs to `dry_run`.
if (!('request_id' in submitted.data)) throw new Error('no job');
const params = { path: { id: submitted.data.request_id } };
for (;;) {
  const { data, error } = await client.GET('/v2/requests/{id}/status', { params });
  if (!data) throw new Error(error.error);
  if (data.status === 'COMPLETED') break;
  await new Promise((done) => setTimeout(done, 100));
}
const { data } = await client.GET('/v2/requests/{id}', { params });
if (!data || data.status !== 'COMPLETED') throw new Error('no result');
const refused = await client.POST('/v2/material-transfer', { body: { subject_image: 'x', material_image: material } });
console.log(JSON.stringify({ output: data.output, seed: data.seed, width: data.images[0]?.width, refused: refused.error?.error }));
