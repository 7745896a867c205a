// Everything that goes to the server, and nothing else. Addresses are relative to the page's base, so that the page works
// behind a path prefix, and whatever host name a proxy has told the server.

const KEY = 'material-transfer.key';

/** An answer that is no success: its sentence, and what is wrong with which field. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body?.error ?? `The server answered with status ${status}.`);
    this.status = status;
    this.details = body?.details ?? [];
  }
}

export const key = {
  get: () => localStorage.getItem(KEY) ?? '',
  set: (value) => (value ? localStorage.setItem(KEY, value) : localStorage.removeItem(KEY)),
};

const headers = (given = key.get()) => (given ? { 'x-api-key': given } : {});

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch {
    throw new Refusal(0, { error: 'The server cannot be reached. Is it still running?' });
  }
  const body = await answer.json().catch(() => null);
  // 422 says that a job has failed, which is news and not a refusal.
  if (!answer.ok && !(answer.status === 422 && body?.status)) throw new Refusal(answer.status, body);
  return body;
}

export const description = () => call('openapi.json');

/** Whether a key is good: throws the server's refusal if it is not. */
export const checkKey = (candidate) => call('v1/get-user-credits', { headers: headers(candidate) });

export const submit = (model, form) => call(`v2/${model}`, { method: 'POST', body: form });
export const status = (id) => call(`v2/requests/${id}/status`);
export const result = (id) => call(`v2/requests/${id}`);
export const cancel = (id) => call(`v2/requests/${id}/cancel`, { method: 'POST' });

/** The same from a page that is being closed: nobody waits for the answer. */
export const cancelWhileLeaving = (id) =>
  fetch(`v2/requests/${id}/cancel`, { method: 'POST', headers: headers(), keepalive: true }).catch(() => {});

/** The file of a result as a blob. Its URL may name another host than the one this page came from, its name does not. */
export async function file(image) {
  const answer = await fetch(`files/${image.file_name}`);
  if (!answer.ok) throw new Refusal(answer.status, { error: 'The result is no longer there.' });
  return answer.blob();
}
