// The parameters as controls. Names, ranges, defaults and help are the OpenAPI document's; this file knows kinds of
// parameters only, so that a new one appears by itself.

import { make, prose, words } from './dom.js';

/** A range that wide is typed and not slid. */
const WIDE = 500;
/** Shown at once; all others under "More settings". */
const FIRST = ['material_strength', 'steps', 'seed'];
/** Of no use here: the answer of v1 as text, and where a finished job is announced. */
const HIDDEN = ['base64', 'webhook_url'];
/** Steps of sliders for numbers: fine enough for every default to be one of them. */
const FINE = 0.05;

const typeOf = (schema) => [schema.type].flat().find((type) => type !== 'null');

/** One parameter with its control: `value` is text or undefined where it is the default. */
class Setting {
  constructor(name, schema, changed) {
    Object.assign(this, { name, schema, changed });
    this.fallback = schema.default === null || schema.default === undefined ? '' : String(schema.default);
    this.id = `setting-${name}`;
    this.problem = make('p', { class: 'wrong', id: `${this.id}-problem` });
    this.help = make('p', { class: 'help', id: `${this.id}-help` }, prose(schema.description));
    this.element = this.build();
    this.element.addEventListener('input', () => {
      this.complain('');
      changed();
    });
    this.set(this.fallback);
  }

  /** What every control has in common. */
  shared(more) {
    return { id: this.id, name: this.name, 'aria-describedby': `${this.id}-help ${this.id}-problem`, ...more };
  }

  build() {
    const { schema, name } = this;
    if (schema.enum) return this.segments();
    if (typeOf(schema) === 'boolean') {
      this.control = make('input', this.shared({ type: 'checkbox' }));
      const label = make('label', { for: this.id }, words(name));
      return make('div', { class: 'setting check' }, this.control, make('div', {}, label, this.help, this.problem));
    }
    const number = ['integer', 'number'].includes(typeOf(schema));
    const label = make('label', { class: 'name', for: this.id }, words(name));
    if (number && schema.maximum - schema.minimum <= WIDE) {
      const step = typeOf(schema) === 'integer' ? 1 : FINE;
      this.control = make('input', this.shared({ type: 'range', min: schema.minimum, max: schema.maximum, step }));
      this.shown = make('output', { for: this.id });
      label.append(this.shown);
      this.control.addEventListener('input', () => this.tell());
    } else if (number && Number.isSafeInteger(schema.maximum)) {
      this.control = make('input', this.shared({ type: 'number', min: schema.minimum, max: schema.maximum, inputmode: 'numeric' }));
    } else if (number) {
      // 2⁶⁴ does not fit into a JavaScript number, so such a one stays text all the way.
      this.control = make('input', this.shared({ type: 'text', inputmode: 'numeric', autocomplete: 'off', placeholder: 'random' }));
    } else if (schema.maxLength > WIDE) {
      this.control = make('textarea', this.shared({ rows: 2, maxlength: schema.maxLength }));
    } else {
      this.control = make('input', this.shared({ type: 'text', maxlength: schema.maxLength ?? null }));
    }
    return make('div', { class: 'setting' }, label, this.control, this.help, this.problem);
  }

  /** One of a few words: buttons of which one is on. */
  segments() {
    this.choices = this.schema.enum.map((word) => make('input', { type: 'radio', name: this.name, value: word }));
    const labels = this.choices.map((choice) => make('label', {}, choice, choice.value));
    const legend = make('legend', { class: 'name' }, words(this.name));
    return make(
      'fieldset',
      { class: 'setting', 'aria-describedby': `${this.id}-help ${this.id}-problem` },
      legend, make('div', { class: 'segments' }, ...labels), this.help, this.problem,
    );
  }

  get value() {
    const text = this.text();
    return text === this.fallback || (text === '' && this.schema.type !== 'string') ? undefined : text;
  }

  text() {
    if (this.choices) return this.choices.find((choice) => choice.checked)?.value ?? this.fallback;
    return this.control.type === 'checkbox' ? String(this.control.checked) : this.control.value;
  }

  set(text) {
    if (this.choices) this.choices.forEach((choice) => (choice.checked = choice.value === text));
    else if (this.control.type === 'checkbox') this.control.checked = text === 'true';
    else this.control.value = text;
    this.tell();
  }

  tell() {
    if (this.shown) this.shown.textContent = this.control.value;
  }

  complain(text) {
    this.problem.textContent = text;
    (this.control ?? this.element).setAttribute('aria-invalid', String(text !== ''));
    if (text) this.element.closest('details')?.setAttribute('open', '');
  }
}

/** All settings of the request's schema but the pictures. */
export class Settings {
  constructor(properties, pictures, first, more, changed) {
    this.all = Object.entries(properties)
      .filter(([name]) => !pictures.includes(name) && !HIDDEN.includes(name))
      .filter(([, schema]) => schema.enum || ['string', 'integer', 'number', 'boolean'].includes(typeOf(schema)))
      .map(([name, schema]) => new Setting(name, schema, changed));
    const front = FIRST.flatMap((name) => this.all.filter((each) => each.name === name));
    first.append(...front.map((each) => each.element));
    more.append(...this.all.filter((each) => !front.includes(each)).map((each) => each.element));
  }

  find(name) {
    return this.all.find((each) => each.name === name);
  }

  /** The ones that differ from their defaults, as text by name. */
  values() {
    return Object.fromEntries(this.all.map((each) => [each.name, each.value]).filter(([, value]) => value !== undefined));
  }

  /** The opposite: everything else goes back to its default. */
  restore(values) {
    for (const each of this.all) each.set(values[each.name] ?? each.fallback);
  }

  /** JSON's value of a text, for programs. */
  typed(name, text) {
    const type = typeOf(this.find(name)?.schema ?? {});
    if (type === 'boolean') return text === 'true';
    return type === 'string' || !Number.isSafeInteger(Number(text) * 1000) ? text : Number(text);
  }
}
