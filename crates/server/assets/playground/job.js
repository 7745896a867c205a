// One transfer from the request to its end: submit, ask, cancel.

import * as api from './api.js';

/** Milliseconds between two questions: soon at first, then calmly. */
const PACE = [250, 1000];
const CALM_AFTER = 8;

/** Ended by its owner, which is no failure. */
export class Cancelled extends Error {}

/** "about 12 seconds left", from the share that is done and how long it took; null while nobody can know. */
export function timeLeft(seconds, progress) {
  if (!(progress > 0.08) || seconds < 1) return null;
  return inWords(Math.ceil((seconds * (1 - progress)) / progress));
}

/** Seconds that are left, in words; null where they are not known. */
function inWords(left) {
  if (left === undefined) return null;
  if (left <= 1) return 'almost done';
  return left < 90 ? `about ${left} seconds left` : `about ${Math.round(left / 60)} minutes left`;
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Job {
  /** `tell(text, progress)`: what to say while it goes on; progress is 0 to 1, or null where it is unknown. */
  constructor(tell) {
    Object.assign(this, { tell, id: null, cancelled: false, started: null });
    this.leave = () => this.id && api.cancelWhileLeaving(this.id);
  }

  async run(model, form) {
    addEventListener('pagehide', this.leave);
    try {
      this.tell('Sending the pictures', null);
      let state = await api.submit(model, form);
      this.id = state.request_id;
      if (this.cancelled) await api.cancel(this.id);
      for (let asked = 0; state.status === 'QUEUED' || state.status === 'PROCESSING'; asked += 1) {
        this.describe(state);
        await pause(asked < CALM_AFTER ? PACE[0] : PACE[1]);
        state = await api.status(this.id);
      }
      if (state.status === 'FAILED') {
        if (this.cancelled) throw new Cancelled();
        throw new api.Refusal(422, { error: state.error });
      }
      return await api.result(this.id);
    } finally {
      removeEventListener('pagehide', this.leave);
    }
  }

  describe({ status, queue_position: position, progress, eta_seconds: eta }) {
    if (this.cancelled) return this.tell('Cancelling', null);
    if (status === 'QUEUED') {
      const place = position > 0 ? `${position} ahead of you` : 'next in line';
      return this.tell(eta > 1 ? `Waiting: ${place}, ${inWords(eta)}` : `Waiting: ${place}`, null);
    }
    this.started ??= performance.now();
    const left = timeLeft((performance.now() - this.started) / 1000, progress) ?? inWords(eta);
    const share = `${Math.round((progress ?? 0) * 100)} %`;
    return this.tell(left ? `Working: ${share}, ${left}` : `Working: ${share}`, progress ?? null);
  }

  async cancel() {
    this.cancelled = true;
    this.tell('Cancelling', null);
    // Before there is an id, run() does it as soon as there is one.
    if (this.id) await api.cancel(this.id);
  }
}
