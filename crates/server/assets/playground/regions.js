// Several masks, each with a material of its own: pairs of pictures that are added and taken out again.

import { byId, make } from './dom.js';
import { Picture } from './pictures.js';

/** The server takes no more. */
const MOST = 4;

export class Regions {
  /** `help`: what the document says of `masks` and `materials`. `paint(mask)` makes the button that paints it. */
  constructor(help, paint, changed) {
    Object.assign(this, { help, paint, changed, pairs: [] });
    byId('add-region').addEventListener('click', () => this.add()[0].input.focus());
    byId('remove-region').addEventListener('click', () => this.remove());
    this.show();
  }

  /** All pictures, each mask before its material. */
  get pictures() {
    return this.pairs.flat();
  }

  /** A further pair. */
  add() {
    const at = this.pairs.length;
    const picture = (field, title) => new Picture(`${field}[${at}]`, this.help[field], this.changed, { title: `${title} ${at + 1}` });
    const pair = [picture('masks', 'Mask'), picture('materials', 'Material')];
    pair[0].actions.append(this.paint(pair[0]));
    this.pairs.push(pair);
    byId('regions').append(make('div', { class: 'inputs region' }, ...pair.map((each) => each.element)));
    this.show();
    return pair;
  }

  /** The last pair goes. */
  remove() {
    this.pairs.pop();
    byId('regions').lastElementChild?.remove();
    this.show();
    (this.pairs.length ? byId('remove-region') : byId('add-region')).focus();
  }

  clear() {
    this.pairs = [];
    byId('regions').replaceChildren();
    this.show();
  }

  /** The files as they are kept with a result. */
  files() {
    return this.pairs.map((pair) => pair.map((picture) => picture.file));
  }

  async restore(files) {
    this.clear();
    for (const pair of files) {
      const pictures = this.add();
      for (const [at, file] of pair.entries()) await pictures[at].take(file);
    }
  }

  show() {
    byId('add-region').hidden = this.pairs.length >= MOST;
    byId('remove-region').hidden = this.pairs.length === 0;
    byId('one-for-all').hidden = this.pairs.length > 0;
    this.changed();
  }
}
