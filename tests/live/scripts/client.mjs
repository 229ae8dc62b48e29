// Given: `http` or `fetch`, the base URL of a server, and the certificate to trust in NODE_EXTRA_CA_CERTS. Gives: calls
// made through that API, some at once. Refuses to know: whether it is traced.

import http from 'node:http';
import https from 'node:https';

const [api, base] = process.argv.slice(2);
const body = 'b'.repeat(3000);

const calls = [];
for (let number = 0; number < 20; number++) calls.push(['GET', `/v1/node/${number}?page=${number}`]);
calls.push(['HEAD', '/v1/node/head'], ['POST', '/echo/node/post', body], ['GET', '/missing/node']);
calls.push(['DELETE', '/empty/node'], ['GET', '/v1/node/last']);

function throughHttp() {
  const { Agent, request } = base.startsWith('https') ? https : http;
  const agent = new Agent({ keepAlive: true, maxSockets: 3 });
  const make = ([method, path, body]) => new Promise((resolve, reject) => {
    const made = request(base + path, { agent, method }, (response) => response.resume().on('end', resolve));
    made.on('error', reject);
    // Written in two pieces without a length: chunked.
    if (body) { made.write(body.slice(0, 10)); made.end(body.slice(10)); } else made.end();
  });
  return Promise.all(calls.map(make)).then(() => agent.destroy());
}

async function throughFetch() {
  const make = async ([method, path, body]) => (await fetch(base + path, { method, body })).arrayBuffer();
  await Promise.all(calls.map(make));
  for (const call of calls) await make([call[0], call[1].replace('node', 'node-again'), call[2]]);
}

await (api === 'fetch' ? throughFetch() : throughHttp());
