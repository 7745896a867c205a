// What every client script here shares: its given body from standard input, and its report as the last line printed.

import { readFileSync } from 'node:fs';

export const MODEL = 'material-transfer';
export const [base, key] = process.argv.slice(2, 4);
export const given = () => JSON.parse(readFileSync(0, 'utf8'));
export const report = (value) => console.log(JSON.stringify(value));
export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
export const base64 = (bytes) => Buffer.from(bytes).toString('base64');
