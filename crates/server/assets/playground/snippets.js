// The request as a program would send it: the very parameters of the page, and the files by their names.

const quoted = JSON.stringify;
/** For a POSIX shell. */
const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const python = (value) => (value === true ? 'True' : value === false ? 'False' : quoted(value));

/** `request`: base, model, keyed, files [[field, file name]], values {name: value of its JSON type}. */
export const LANGUAGES = {
  curl({ base, model, keyed, files, values, format }) {
    const fields = [
      ...files.map(([field, file]) => `-F ${shell(`${field}=@${file}`)}`),
      ...Object.entries(values).map(([name, value]) => `--form-string ${shell(`${name}=${value}`)}`),
    ];
    const head = `curl --fail-with-body ${base}v1/${model} -o result.${format}`;
    return [head, ...(keyed ? ['-H "x-api-key: $KEY"'] : []), ...fields].join(' \\\n  ');
  },

  Python({ base, model, keyed, files, values, format }) {
    const pictures = files.map(([field, file]) => `        (${quoted(field)}, open(${quoted(file)}, "rb")),`);
    const data = Object.entries(values).map(([name, value]) => `        ${quoted(name)}: ${python(value)},`);
    return [
      ...(keyed ? ['import os', ''] : []),
      'import requests',
      '',
      'answer = requests.post(',
      `    ${quoted(`${base}v1/${model}`)},`,
      ...(keyed ? ['    headers={"x-api-key": os.environ["KEY"]},'] : []),
      '    files=[', ...pictures, '    ],',
      ...(data.length ? ['    data={', ...data, '    },'] : []),
      ')',
      'if not answer.ok:',
      '    raise SystemExit(answer.json()["error"])',
      `open("result.${format}", "wb").write(answer.content)`,
    ].join('\n');
  },

  JavaScript({ base, model, keyed, files, values, format }) {
    return [
      "import { openAsBlob } from 'node:fs';",
      "import { writeFile } from 'node:fs/promises';",
      '',
      'const form = new FormData();',
      ...files.map(([field, file]) => `form.append(${quoted(field)}, await openAsBlob(${quoted(file)}), ${quoted(file)});`),
      ...Object.entries(values).map(([name, value]) => `form.set(${quoted(name)}, ${quoted(value)});`),
      `const answer = await fetch(${quoted(`${base}v1/${model}`)}, {`,
      "  method: 'POST',",
      ...(keyed ? ["  headers: { 'x-api-key': process.env.KEY },"] : []),
      '  body: form,',
      '});',
      'if (!answer.ok) throw new Error((await answer.json()).error);',
      `await writeFile("result.${format}", answer.body);`,
    ].join('\n');
  },
};
