// Painting a mask over the subject: a canvas of the picture's own shape, white where the material goes.

import { byId, showBlob } from './dom.js';

/** Longest side of the painted mask, in pixels; the server brings it to the picture's size. */
const MOST = 2048;

/** Paints masks over a subject (a file), each for one of the page's pictures. */
export class Painter {
  constructor() {
    Object.assign(this, { last: null, drafts: new WeakMap() });
    this.dialog = byId('mask-dialog');
    this.canvas = byId('mask-canvas');
    this.ink = this.canvas.getContext('2d');
    this.canvas.addEventListener('pointerdown', (event) => this.begin(event));
    this.canvas.addEventListener('pointermove', (event) => this.last && this.stroke(event));
    for (const end of ['pointerup', 'pointercancel']) this.canvas.addEventListener(end, () => (this.last = null));
    byId('mask-erase').addEventListener('click', ({ target }) => {
      target.setAttribute('aria-pressed', String(target.getAttribute('aria-pressed') !== 'true'));
    });
    byId('mask-all').addEventListener('click', () => this.fill());
    byId('mask-none').addEventListener('click', () => this.wipe());
    byId('mask-close').addEventListener('click', () => this.dialog.close());
    byId('mask-use').addEventListener('click', () => this.done());
    this.dialog.addEventListener('close', () => this.keep());
  }

  /** Opens over `subject`; what was painted for the same picture over the same file before is still there. */
  async open(subject, picture) {
    const image = byId('mask-subject');
    if (!(await showBlob(image, subject))) return false;
    Object.assign(this, { subject, picture });
    const scale = Math.min(1, MOST / Math.max(image.naturalWidth, image.naturalHeight));
    this.canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
    this.canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
    const draft = this.drafts.get(picture);
    if (draft?.subject === subject) this.ink.drawImage(draft.painted, 0, 0);
    this.dialog.showModal();
    return true;
  }

  keep() {
    const painted = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    painted.getContext('2d').drawImage(this.canvas, 0, 0);
    this.drafts.set(this.picture, { subject: this.subject, painted });
  }

  get erases() {
    return byId('mask-erase').getAttribute('aria-pressed') === 'true';
  }

  /** Where a pointer is, in the canvas' own pixels. */
  place({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [((clientX - box.left) * this.canvas.width) / box.width, ((clientY - box.top) * this.canvas.height) / box.height];
  }

  begin(event) {
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.place(event);
    this.stroke(event);
  }

  stroke(event) {
    const here = this.place(event);
    this.ink.globalCompositeOperation = this.erases ? 'destination-out' : 'source-over';
    this.ink.strokeStyle = '#fff';
    this.ink.lineCap = this.ink.lineJoin = 'round';
    this.ink.lineWidth = (Number(byId('mask-brush').value) / 100) * Math.max(this.canvas.width, this.canvas.height);
    this.ink.beginPath();
    this.ink.moveTo(...this.last);
    this.ink.lineTo(...here);
    this.ink.stroke();
    this.last = here;
  }

  fill() {
    this.ink.globalCompositeOperation = 'source-over';
    this.ink.fillStyle = '#fff';
    this.ink.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  wipe() {
    this.ink.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** White on black, as every program reads it. */
  async done() {
    const flat = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    const ink = flat.getContext('2d');
    ink.fillRect(0, 0, flat.width, flat.height);
    ink.drawImage(this.canvas, 0, 0);
    const blob = await flat.convertToBlob({ type: 'image/png' });
    const number = /\d+$/.exec(this.picture.title);
    this.dialog.close();
    await this.picture.take(new File([blob], number ? `mask-${number}.png` : 'mask.png', { type: 'image/png' }));
  }
}
