// Given: --game=NAME, a file with a call in each line, the port of the platform and, for TLS, its certificate. Gives: a line
// "ready"; from the line "go" on its standard input, each call when it is due, through Node's http or https; then a line "made
// CALLS FAILED", and its connections stay until it is ended. Refuses to know: why it makes them, and that it is watched.

import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import readline from 'node:readline';

const options = Object.fromEntries(process.argv.slice(2).map((argument) => argument.slice(2).split('=')));
const { Agent, request } = options.certificate ? https : http;
const ca = options.certificate && fs.readFileSync(options.certificate);
const lines = fs.readFileSync(options.calls, 'utf8').split('\n').filter((line) => line);
const calls = lines.map((line) => JSON.parse(line));
const followers = new Map(calls.filter((call) => call.after !== null).map((call) => [call.after, call]));

let made = 0;
let failed = 0;
let left = calls.length;

// Connections are kept by authority, as if each had an address of its own.
const agents = new Map();
function agent(authority) {
  if (!agents.has(authority)) agents.set(authority, new Agent({ keepAlive: true, ca, servername: authority }));
  return agents.get(authority);
}

function end(call) {
  left -= 1;
  const next = followers.get(call.n);
  if (next) setTimeout(play, next.pause_ns / 1e6, next);
  if (left === 0) console.log('made', made, failed);
}

function play(call) {
  const { method, authority, target, body, body_bytes: bytes, gives_up_ns: givesUp } = call;
  const headers = { ...call.headers, Host: authority };
  if (bytes > 0) headers['Content-Length'] = bytes;
  const where = { host: '127.0.0.1', port: options.port, agent: agent(authority), servername: authority };
  const asked = request({ ...where, method, path: target, headers });
  made += 1;
  let over = false;
  const done = (error) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    if (error && !call.may_fail) {
      failed += 1;
      console.error(method, authority + target, String(error));
    }
    end(call);
  };
  const timer = givesUp === null ? undefined : setTimeout(() => asked.destroy(), givesUp / 1e6);
  asked.on('response', (response) => response.on('end', () => done()).on('error', done).resume());
  asked.on('error', done).on('close', () => done(new Error('closed')));
  // Numbers of bodies are strings here: they have more digits than a number of JavaScript.
  const text = BigInt(body).toString(16).padStart(16, '0');
  asked.end(bytes > 0 ? text.repeat(bytes / 16 + 1).slice(0, bytes) : undefined);
}

const orders = readline.createInterface({ input: process.stdin });
orders.once('line', () => {
  const started = performance.now();
  for (const call of calls.filter((call) => call.after === null)) {
    setTimeout(play, Math.max(0, call.at_ns / 1e6 - (performance.now() - started)), call);
  }
});
orders.on('close', () => process.exit(0));
console.log('ready');
