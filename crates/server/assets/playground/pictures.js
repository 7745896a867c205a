// The two pictures: dropped, pasted, chosen, or taken from the examples.

import { make, prose, showBlob, words } from './dom.js';

const EXAMPLES = {
  subject_image: ['pumpkin', 'teapot', 'armchair', 'bust'],
  material_image: ['marble', 'malachite', 'walnut', 'copper'],
};
const ACCEPT = 'image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff';

/** One picture of the request. `changed` is called whenever there is another file. An `optional` one can be taken out again. */
export class Picture {
  constructor(name, help, changed, { optional = false, title = words(name.replace('_image', '')) } = {}) {
    // Of several in a list, each has its number in its name; the field has none.
    Object.assign(this, { name, field: name.replace(/\[\d+\]$/, ''), title, changed, file: null });
    this.input = make('input', {
      type: 'file', accept: ACCEPT, 'aria-label': `${title}: choose a picture`, 'aria-describedby': `${name}-problem ${name}-hint`,
      onchange: () => this.input.files[0] && this.take(this.input.files[0]),
    });
    this.image = make('img', { alt: '', hidden: true });
    this.hint = make('span', { class: 'hint', id: `${name}-hint` }, 'Drop, paste or choose a picture');
    this.drop = make('div', { class: 'drop', title: help }, this.image, this.hint, this.input);
    this.problem = make('p', { class: 'wrong', id: `${name}-problem` });
    this.examples = make('div', { class: 'examples', role: 'group', 'aria-label': `Examples of a ${title.toLowerCase()}` });
    for (const example of EXAMPLES[name] ?? []) this.examples.append(this.example(example));
    this.actions = make('div', { class: 'actions' });
    this.remove = make('button', { type: 'button', class: 'quiet', hidden: true, 'aria-label': `${title}: remove`, onclick: () => this.clear() || this.input.focus() }, 'Remove');
    if (optional) this.actions.append(this.remove);
    this.element = make(
      'fieldset', { class: 'picture' },
      make('legend', {}, title), this.drop, this.problem, this.examples, this.actions, optional && make('p', { class: 'help' }, prose(help)),
    );
    this.listen();
  }

  /** Without a file again. */
  clear() {
    Object.assign(this, { file: null });
    this.complain('');
    this.input.value = '';
    this.image.hidden = true;
    this.hint.textContent = 'Drop, paste or choose a picture';
    this.drop.classList.remove('full');
    this.remove.hidden = true;
    this.changed();
  }

  example(example) {
    const address = `playground/examples/${example}.jpg`;
    return make(
      'button',
      { type: 'button', 'aria-pressed': 'false', 'aria-label': `Example: ${example}`, title: words(example), 'data-example': example, onclick: () => this.takeExample(example) },
      make('img', { src: address, alt: '', loading: 'lazy' }),
    );
  }

  listen() {
    const over = (on) => (event) => {
      event.preventDefault();
      this.drop.classList.toggle('over', on);
    };
    this.drop.addEventListener('dragover', over(true));
    this.drop.addEventListener('dragleave', over(false));
    this.drop.addEventListener('drop', (event) => {
      over(false)(event);
      if (event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
    });
  }

  async takeExample(example) {
    const answer = await fetch(`playground/examples/${example}.jpg`);
    await this.take(new File([await answer.blob()], `${example}.jpg`, { type: 'image/jpeg' }), example);
  }

  async take(file, example = null) {
    this.file = file;
    this.complain('');
    this.remove.hidden = false;
    for (const button of this.examples.children) {
      button.setAttribute('aria-pressed', String(button.dataset.example === example));
    }
    this.hint.textContent = file.name;
    this.drop.classList.add('full');
    // A TIFF, say, is read by the server and not by most browsers: then its name has to do.
    this.image.hidden = !(await showBlob(this.image, file));
    this.changed();
  }

  complain(text) {
    this.problem.textContent = text;
    this.input.setAttribute('aria-invalid', String(text !== ''));
  }
}

/** Pasted pictures go to the part of the page that has the focus, else to the first of `needed` that is empty, else to the subject. */
export function listenForPasting(all, needed) {
  document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith('image/'));
    if (!file) return;
    event.preventDefault();
    const focused = all().find((picture) => picture.element.contains(document.activeElement));
    (focused ?? needed.find((picture) => !picture.file) ?? needed[0]).take(file);
  });
}
