// F.3 row 19: is this key any good? Asks for a request that cannot exist: 401 or 403 is a bad key, 404 a good one.

import { base, key, report } from './report.mjs';

const nobody = '00000000-0000-0000-0000-000000000000';
const answer = await fetch(`${base}/v2/requests/${nobody}/status`, { headers: { 'x-api-key': key } });
const verdicts = { 401: 'bad', 403: 'bad', 404: 'good' };
report({ status: answer.status, verdict: verdicts[answer.status] ?? 'unknown' });
