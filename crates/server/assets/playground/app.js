// The playground: puts the parts together. Each part is a module that can be read by itself.

import * as api from './api.js';
import { byId, make, showBlob, words } from './dom.js';
import * as history from './history.js';
import { Cancelled, Job } from './job.js';
import { Painter } from './mask.js';
import { listenForPasting, Picture } from './pictures.js';
import { Regions } from './regions.js';
import { Settings } from './settings.js';
import { LANGUAGES } from './snippets.js';

const PICTURES = ['subject_image', 'material_image'];
const FURTHER = ['subject_mask', 'blend_image'];

let model, keyed, pictures, further, regions, painter, settings, job, shown;
let language = 'curl';

// ---------------------------------------------------------------- start

async function start() {
  const document = await api.description();
  model = Object.keys(document.paths).find((path) => path.startsWith('/v2/') && document.paths[path].post).split('/')[2];
  keyed = (document.security ?? []).some((way) => Object.keys(way).length > 0);
  const { properties } = document.components.schemas.TransferRequest;
  pictures = PICTURES.map((name) => new Picture(name, properties[name].description, writeSnippet));
  byId('pictures').append(...pictures.map((picture) => picture.element));
  further = FURTHER.map((name) => new Picture(name, properties[name].description, writeSnippet, { optional: true }));
  byId('further-pictures').append(...further.map((picture) => picture.element));
  painter = new Painter();
  further[0].actions.prepend(paintButton(further[0]));
  const help = { masks: properties.masks.description, materials: properties.materials.description };
  regions = new Regions(help, paintButton, regionsChanged);
  settings = new Settings(properties, [...PICTURES, ...FURTHER], byId('main-settings'), byId('more-settings'), writeSnippet);
  listenForPasting(() => [...pictures, ...further, ...regions.pictures], pictures);
  makeLanguages();
  byId('key-button').hidden = !keyed;
  await Promise.all([pictures[0].takeExample('pumpkin'), pictures[1].takeExample('marble')]);
  await showExample();
  if (keyed && !api.key.get()) askForKey();
  await showHistory();
}

/** A button beside a mask that opens a board to paint it on. */
function paintButton(mask) {
  const paint = async () => {
    if (!pictures[0].file) return void pictures[0].complain('Choose a picture first.');
    if (!(await painter.open(pictures[0].file, mask))) mask.complain('This browser cannot show the subject: choose a mask as a file.');
  };
  return make('button', { type: 'button', class: 'paint', 'aria-label': `${mask.title}: paint it`, onclick: paint }, 'Paint it');
}

/** Regions have materials of their own: one mask and one material for all are not asked for then. */
function regionsChanged() {
  const several = regions?.pairs.length > 0;
  byId('further-pictures').hidden = several;
  pictures[1].element.disabled = several;
  writeSnippet();
}

/** The pictures of the request, those that are needed first. */
const needed = () => (regions.pairs.length ? [pictures[0], ...regions.pictures] : pictures);
const given = () => [...needed(), ...(regions.pairs.length ? [] : further.filter((picture) => picture.file))];

/** What a result looks like, before there is one. */
async function showExample() {
  const answer = await fetch('playground/examples/pumpkin-marble.jpg');
  await showBlob(byId('before'), pictures[0].file);
  await showBlob(byId('after'), await answer.blob());
  byId('after').alt = 'An example: the pumpkin, made of marble';
  fit();
  show('example');
  byId('compare').hidden = false;
}

// ---------------------------------------------------------------- running

function form() {
  const form = new FormData();
  for (const picture of given()) form.append(picture.field, picture.file, picture.file.name);
  for (const [name, value] of Object.entries(settings.values())) form.set(name, value);
  return form;
}

function show(state) {
  byId('running').hidden = state !== 'running';
  byId('run').disabled = state === 'running';
  byId('idle').hidden = state !== 'idle';
  if (state === 'running') {
    byId('problem').hidden = true;
    byId('outcome').hidden = true;
  }
}

let announced = '';
function tell(text, progress) {
  byId('state').textContent = text;
  if (progress === null) byId('progress').removeAttribute('value');
  else byId('progress').value = progress;
  // Screen readers hear of each state once, and not of each per cent.
  const state = text.split(':')[0];
  if (state !== announced) byId('announce').textContent = announced = state;
}

async function run(event) {
  event.preventDefault();
  const missing = needed().filter((picture) => !picture.file);
  missing.forEach((picture) => picture.complain('Choose a picture first.'));
  if (missing.length || job) return;
  const subject = pictures[0].file;
  const material = needed().at(regions.pairs.length ? 2 : 1).file;
  const [mask, blend] = further.map((picture) => picture.file);
  const values = settings.values();
  job = new Job(tell);
  show('running');
  await preview(subject);
  // On a phone the stage is below the settings.
  byId('canvas').scrollIntoView({ block: 'nearest' });
  try {
    const result = await job.run(model, form());
    const images = await Promise.all(result.images.map(async (image) => ({ name: image.name, file: await api.file(image) })));
    const entry = { id: result.request_id, time: Date.now(), subject, material, mask, blend, regions: regions.files(), values, seed: result.seed, images, facts: facts(result), notes: remarks(result, values) };
    await present(entry);
    byId('announce').textContent = announced = 'The result is there.';
    if (!(await history.keep(entry))) byId('no-history').textContent = 'This browser keeps nothing here (a private window, or no room).';
    await showHistory();
  } catch (error) {
    failed(error);
  } finally {
    job = null;
  }
}

/** The subject on the stage while the work goes on. */
async function preview(subject) {
  byId('compare').classList.add('alone');
  byId('compare').hidden = !(await showBlob(byId('after'), subject));
  fit();
  byId('after').alt = 'The subject';
}

/** The stage takes the form of the picture that is on it. */
function fit() {
  const { naturalWidth: width, naturalHeight: height } = byId('after');
  if (height) byId('compare').style.setProperty('--ratio', String(width / height));
}

function failed(error) {
  show('idle');
  byId('compare').hidden = true;
  if (error instanceof Cancelled) {
    byId('idle').textContent = 'Cancelled. Nothing was made, and nothing is charged.';
    byId('announce').textContent = announced = 'Cancelled';
    return;
  }
  byId('idle').textContent = 'The result appears here.';
  if (!(error instanceof api.Refusal)) console.error(error);
  if (error.status === 401) {
    askForKey(api.key.get() ? error.message : '');
    return;
  }
  const rest = [];
  // A failed job names its field in the sentence, a refusal in its details.
  const [, field, message] = /^([\w[\]]+): (.*)$/s.exec(error.message) ?? [];
  const details = error.details?.length ? error.details : field ? [{ field, message }] : [];
  for (const { field, message } of details) {
    const control = [...pictures, ...further, ...regions.pictures].find((picture) => picture.name === field) ?? settings.find(field);
    control?.complain(message);
    rest.push(make('li', {}, `${words(field)}: ${message}`));
  }
  const problem = byId('problem');
  problem.replaceChildren(details.length ? make('strong', {}, 'That did not work.') : make('span', {}, error.message));
  if (rest.length) problem.append(make('ul', {}, ...rest));
  problem.hidden = false;
}

// ---------------------------------------------------------------- the result

function facts(result) {
  const [first] = result.images;
  const seconds = result.metrics.inference_time?.toFixed(1);
  return `${first.width} × ${first.height}, ${Math.ceil(Number(first.file_size) / 1024)} kB · ${seconds} s · seed ${result.seed}`;
}

/** Only what was given can have been ignored. */
function remarks(result, values) {
  const names = (result.ignored ?? []).filter((name) => name in values);
  const ignored = names.length ? [`This engine has no use for: ${names.join(', ')}.`] : [];
  return [...ignored, ...(result.notes ?? [])];
}

async function present(entry) {
  shown = entry;
  show('result');
  byId('problem').hidden = true;
  const compare = byId('compare');
  compare.hidden = false;
  const comparable = await showBlob(byId('before'), entry.subject);
  compare.classList.toggle('alone', !comparable);
  await look(entry.images[0]);
  byId('facts').textContent = entry.facts;
  byId('remarks').replaceChildren(...entry.notes.map((note) => make('li', {}, note)));
  const steps = entry.images.length > 1 ? entry.images.map((image) => step(image)) : [];
  byId('steps').replaceChildren(...steps);
  const download = byId('download');
  URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(entry.images[0].file);
  download.download = `${entry.subject.name.replace(/\.\w+$/, '')}-${entry.material.name.replace(/\.\w+$/, '')}-${entry.seed}.${extension(entry.images[0].file)}`;
  byId('outcome').hidden = false;
}

const extension = (file) => file.type.split('/')[1].replace('jpeg', 'jpg');

/** A picture of the result beside the subject. */
async function look(image) {
  await showBlob(byId('after'), image.file);
  fit();
  byId('after').alt = image.name === 'output' ? 'The result' : `${words(image.name)}, made on the way`;
  for (const button of byId('steps').children) button.setAttribute('aria-pressed', String(button.dataset.name === image.name));
}

function step(image) {
  const picture = make('img', { alt: '' });
  showBlob(picture, image.file);
  const pressed = String(image.name === 'output');
  return make('button', { type: 'button', 'aria-pressed': pressed, 'data-name': image.name, onclick: () => look(image) }, picture, words(image.name));
}

// ---------------------------------------------------------------- results of this browser

async function showHistory() {
  const all = await history.entries();
  byId('forget').hidden = all.length === 0;
  byId('no-history').hidden = all.length > 0;
  byId('history').replaceChildren(...all.map(card));
}

function card(entry) {
  const what = `${entry.subject.name} with ${entry.material.name}, seed ${entry.seed}`;
  const picture = make('img', { alt: '' });
  showBlob(picture, entry.images[0].file);
  const changedValues = Object.entries(entry.values).filter(([name]) => name !== 'seed').map(([name, value]) => `${words(name).toLowerCase()} ${value}`);
  const use = () => reuse(entry);
  const remove = async () => {
    await history.forget(entry.id);
    await showHistory();
  };
  return make(
    'li', { class: 'entry' },
    make('button', { type: 'button', class: 'open', 'aria-label': `Show ${what}`, onclick: () => present(entry).then(() => byId('canvas').scrollIntoView({ block: 'center' })) }, picture),
    make('p', {}, [`seed ${entry.seed}`, ...changedValues].join(' · ')),
    make('div', { class: 'actions' },
      make('button', { type: 'button', 'aria-label': `Use again: ${what}`, onclick: use }, 'Use again'),
      make('button', { type: 'button', 'aria-label': `Forget: ${what}`, onclick: remove }, 'Forget')),
  );
}

async function reuse(entry) {
  settings.restore({ ...entry.values, seed: entry.seed });
  await pictures[0].take(entry.subject);
  await pictures[1].take(entry.material);
  await regions.restore(entry.regions ?? []);
  for (const [picture, file] of further.map((picture, at) => [picture, [entry.mask, entry.blend][at]])) {
    if (file) await picture.take(file);
    else if (picture.file) picture.clear();
  }
  byId('run').focus();
}

// ---------------------------------------------------------------- as a program

function makeLanguages() {
  const tabs = Object.keys(LANGUAGES).map((name) =>
    make('button', { type: 'button', role: 'tab', id: `language-${name}`, 'aria-controls': 'listing', onclick: () => choose(name) }, name));
  byId('languages').append(...tabs);
  byId('languages').addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  choose(language);
}

function choose(name) {
  language = name;
  for (const tab of byId('languages').children) {
    const chosen = tab.id === `language-${name}`;
    tab.setAttribute('aria-selected', String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  byId('listing').setAttribute('aria-labelledby', `language-${name}`);
  writeSnippet();
}

function writeSnippet() {
  if (!settings || !regions) return;
  const texts = settings.values();
  const values = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, settings.typed(name, text)]));
  const files = given().map((picture) => [picture.field, picture.file?.name ?? `${picture.field}.png`]);
  const format = texts.output_format ?? settings.find('output_format')?.fallback ?? 'webp';
  byId('snippet').textContent = LANGUAGES[language]({ base: document.baseURI, model, keyed, files, values, format });
}

async function copy() {
  const button = byId('copy');
  try {
    await navigator.clipboard.writeText(byId('snippet').textContent);
    button.textContent = 'Copied';
  } catch {
    // Without https a page may not write to the clipboard: select, so that one key copies.
    getSelection().selectAllChildren(byId('snippet'));
    button.textContent = 'Press Ctrl+C';
  }
  setTimeout(() => (button.textContent = 'Copy'), 2000);
}

// ---------------------------------------------------------------- the key

function askForKey(problem = '') {
  byId('key').value = api.key.get();
  byId('key-problem').textContent = problem;
  byId('key-dialog').showModal();
}

async function takeKey(event) {
  event.preventDefault();
  const candidate = byId('key').value.trim();
  try {
    await api.checkKey(candidate);
  } catch (error) {
    // A key that may submit and not read is a good key too.
    if (error.status !== 403) return void (byId('key-problem').textContent = error.message);
  }
  api.key.set(candidate);
  byId('key-dialog').close();
}

// ---------------------------------------------------------------- wiring

byId('form').addEventListener('submit', run);
byId('cancel').addEventListener('click', () => job?.cancel().catch(failed));
byId('reset').addEventListener('click', () => {
  settings.restore({});
  further.filter((picture) => picture.file).forEach((picture) => picture.clear());
  regions.clear();
});
byId('divide').addEventListener('input', (event) => byId('compare').style.setProperty('--at', `${event.target.value}%`));
byId('copy').addEventListener('click', copy);
byId('reuse-seed').addEventListener('click', () => {
  settings.restore({ ...settings.values(), seed: shown.seed });
  writeSnippet();
});
byId('as-subject').addEventListener('click', () => {
  const file = shown.images[0].file;
  pictures[0].take(new File([file], `result.${extension(file)}`, { type: file.type }));
});
byId('forget').addEventListener('click', async () => {
  if (!confirm('Forget all results of this browser? Their pictures are gone then.')) return;
  await history.forgetAll();
  await showHistory();
});
byId('key-button').addEventListener('click', () => askForKey());
byId('key-form').addEventListener('submit', takeKey);
byId('key-close').addEventListener('click', () => byId('key-dialog').close());
byId('key-forget').addEventListener('click', () => {
  api.key.set('');
  byId('key').value = '';
  byId('key-problem').textContent = 'Forgotten.';
});

start().catch((error) => {
  byId('problem').textContent = `The page could not be set up: ${error.message}`;
  byId('problem').hidden = false;
});
