// The API reference, made of the OpenAPI document: its tags are the chapters, in their order.

import { byId, make } from './dom.js';

let api;

const resolve = (node) =>
  node?.$ref ? resolve(node.$ref.slice(2).split('/').reduce((place, part) => place[part], api)) : node;
const slug = (text) => text.toLowerCase().replace(/\W+/g, '-');
const show = (value) => (value === '' ? 'empty' : JSON.stringify(value));

/** A chapter, and its line in the contents. */
function chapter(title, ...content) {
  const id = slug(title);
  byId('contents').append(make('li', {}, make('a', { href: `docs#${id}` }, title)));
  byId('chapters').append(make('section', { class: 'chapter', id, 'aria-labelledby': `${id}-title` }, make('h2', { id: `${id}-title` }, title), ...content));
}

/** A value as the schema describes it, for people to see its form. */
function sample(schema) {
  schema = resolve(schema);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf) return sample(schema.oneOf[0]);
  const type = [schema.type].flat()[0];
  if (type === 'array') return [sample(schema.items)];
  if (type === 'object') {
    return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, each]) => [name, sample(each)]));
  }
  return { integer: 0, number: 0, boolean: false }[type] ?? '…';
}

function kind(schema) {
  if (schema.enum) return schema.enum.join(' or ');
  if (schema.format === 'binary') return 'file';
  const type = [schema.type].flat().filter((each) => each !== 'null').join(' or ');
  return type === 'string' && schema.format ? `string (${schema.format})` : type;
}

function range(schema) {
  if (schema.minimum !== undefined && schema.maximum !== undefined) {
    // 2⁶⁴ is beyond what a JavaScript number keeps exactly.
    const most = Number.isSafeInteger(schema.maximum) || schema.maximum < 1e15 ? schema.maximum : '2⁶⁴ − 1';
    return `${schema.minimum} to ${most}`;
  }
  if (schema.maxLength) return `at most ${schema.maxLength} characters`;
  return schema.maxItems ? `at most ${schema.maxItems}` : '';
}

function fields(schema) {
  const required = schema.required ?? [];
  const list = make('dl', { class: 'fields' });
  for (const [name, given] of Object.entries(schema.properties ?? {})) {
    const each = resolve(given);
    const facts = [kind(each), range(each), each.default === undefined || each.default === null ? '' : `default ${show(each.default)}`];
    const head = make('dt', {}, make('code', {}, name), ...facts.filter(Boolean).map((fact) => make('span', {}, fact)));
    if (required.includes(name)) head.append(make('span', { class: 'required' }, 'required'));
    list.append(make('div', {}, head, make('dd', {}, given.description ?? each.description ?? '')));
  }
  return list;
}

const code = (text) => make('pre', { class: 'sample', tabindex: '0' }, make('code', {}, text));

function headerList(headers) {
  const list = make('dl', { class: 'fields' });
  for (const [name, header] of Object.entries(headers)) {
    list.append(make('div', {}, make('dt', {}, make('code', {}, name)), make('dd', {}, header.description)));
  }
  return list;
}

function answer(status, given, open) {
  const known = resolve(given);
  const body = make('div', {});
  const kinds = Object.entries(known.content ?? {});
  const files = kinds.filter(([type]) => type !== 'application/json').map(([type]) => type);
  if (files.length) body.append(make('p', { class: 'muted' }, make('code', {}, files.join(', '))));
  for (const [type, media] of kinds.filter(([type]) => type === 'application/json')) {
    if (files.length) body.append(make('p', { class: 'muted' }, 'or ', make('code', {}, type)));
    const shown = media.example ?? sample(media.schema);
    // A body without documented fields, such as a health report's, is better not invented.
    if (Object.keys(shown).length) body.append(code(JSON.stringify(shown, null, 2)));
  }
  if (known.headers) body.append(make('h4', {}, 'Headers'), headerList(known.headers));
  return make('details', { class: 'answer', open }, make('summary', {}, make('code', {}, status), ` ${known.description}`), body);
}

function route(path, method, operation) {
  const title = make('h3', {}, make('span', { class: 'method' }, method.toUpperCase()), make('code', {}, path), operation.summary);
  const parts = [title];
  if (operation.description) parts.push(make('p', { class: 'muted' }, operation.description));
  for (const [type, media] of Object.entries(operation.requestBody?.content ?? {})) {
    const own = media.schema.$ref && ['TransferRequest', 'TransferForm'].some((name) => media.schema.$ref.endsWith(name));
    if (own) continue;
    parts.push(make('h4', {}, `Body: ${type}`), fields(resolve(media.schema)));
  }
  if (Object.keys(operation.requestBody?.content ?? {}).length > 1) {
    const kinds = Object.keys(operation.requestBody.content).join(' or ');
    parts.push(make('p', {}, `Body: ${kinds}, with the `, make('a', { href: 'docs#parameters' }, 'parameters'), '.'));
  }
  const answers = Object.entries(operation.responses).sort(([a], [b]) => a.localeCompare(b));
  parts.push(make('div', {}, ...answers.map(([status, given]) => answer(status, given, status === '200'))));
  return make('article', { class: 'route' }, ...parts);
}

/** The routes of a tag: what one sends comes before what one asks. */
function routes(tag) {
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, each]) => each.tags?.includes(tag)).map(([method, each]) => ({ path, method, each })));
  all.sort((a, b) => (a.each['x-order'] ?? 99) - (b.each['x-order'] ?? 99));
  return all.map(({ path, method, each }) => route(path, method, each));
}

function example(post, keyed) {
  const key = keyed ? '     -H "x-api-key: $KEY" \\\n' : '';
  return `curl ${document.baseURI}${post.slice(1)} -o out.webp \\\n${key}     -F subject_image=@bird.png -F material_image=@ruby.png`;
}

function render() {
  byId('about').textContent = `${api.info.description} Version ${api.info.version}.`;
  const keyed = (api.security ?? []).length > 0;
  const post = Object.keys(api.paths).find((path) => path.startsWith('/v1/') && api.paths[path].post);
  chapter('A first call', code(example(post, keyed)),
    make('p', { class: 'muted' }, keyed ? 'This server asks for a key, in the header x-api-key.' : 'This server asks for no key.'));
  for (const tag of api.tags) {
    const about = tag.description ? [make('p', { class: 'muted' }, tag.description)] : [];
    chapter(tag.name, ...about, ...routes(tag.name));
    if (tag.name.includes('v2')) {
      chapter('Parameters', make('article', { class: 'route' }, fields(api.components.schemas.TransferRequest)));
    }
  }
  const errors = make('article', { class: 'route' });
  const list = make('dl', { class: 'fields' });
  for (const [status, each] of Object.entries(api.components.responses)) {
    list.append(make('div', {}, make('dt', {}, make('code', {}, status)), make('dd', {}, each.description)));
  }
  errors.append(make('p', {}, 'Always JSON with one sentence:'), code(JSON.stringify(sample({ $ref: '#/components/schemas/Error' }), null, 2)), list);
  chapter('Errors', errors);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch('openapi.json')
  .then((given) => given.json())
  .then((document) => {
    api = document;
    render();
  })
  .catch((error) => {
    byId('about').textContent = `The document could not be read: ${error.message}`;
  });
