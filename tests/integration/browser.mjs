/* Opens one page in headless Chromium over the DevTools protocol and prints what it did, as JSON.

   node browser.mjs '{"chromium": "…", "url": "…", "width": 1200, "dark": false, "steps": ["expression", …],
                      "screenshot": "file.png"}'

   Printed: {"results": [value of each step], "console": [errors and warnings], "requests": [addresses],
             "failed": [addresses that were not answered with 2xx or 3xx]}
   A step is a JavaScript expression, awaited; its value must be JSON. Chromium runs in a folder of its own that is
   removed, and is ended with this process. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const plan = JSON.parse(process.argv[2]);
const home = mkdtempSync(join(tmpdir(), 'seqlab-chromium-'));
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--remote-debugging-port=0', `--user-data-dir=${home}`, 'about:blank'];
const chromium = spawn(plan.chromium, flags, { stdio: ['ignore', 'ignore', 'pipe'] });

/** The address of the browser's DevTools socket, from the line it prints when it is ready. */
function ready() {
  return new Promise((resolve, reject) => {
    let said = '';
    chromium.stderr.on('data', (chunk) => {
      said += chunk;
      const match = said.match(/DevTools listening on (ws:\S+)/);
      if (match) resolve(match[1]);
    });
    chromium.on('exit', (code) => reject(new Error(`chromium ended with ${code}:\n${said}`)));
  });
}

/** Connects to the page's own socket: `send(method, params)` and `on(method, listener)`. */
async function connect(browser) {
  const targets = await (await fetch(`http://${new URL(browser).host}/json/list`)).json();
  const socket = new WebSocket(targets.find((target) => target.type === 'page').webSocketDebuggerUrl);
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  const waiting = new Map();
  const listeners = new Map();
  let last = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (!message.id) return listeners.get(message.method)?.(message.params);
    const { resolve, reject } = waiting.get(message.id);
    return message.error ? reject(new Error(message.error.message)) : resolve(message.result);
  };
  return {
    send: (method, params = {}) => new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    }),
    on: (method, listener) => listeners.set(method, listener),
  };
}

async function main() {
  const { send, on } = await connect(await ready());
  const seen = { results: [], console: [], requests: [], failed: [] };
  on('Network.requestWillBeSent', ({ request }) => seen.requests.push(request.url));
  on('Network.responseReceived', ({ response }) => { if (response.status >= 400) seen.failed.push(response.url); });
  on('Network.loadingFailed', ({ errorText, canceled }) => { if (!canceled) seen.failed.push(errorText); });
  on('Runtime.exceptionThrown', ({ exceptionDetails }) => seen.console.push(exceptionDetails.text));
  on('Log.entryAdded', ({ entry }) => seen.console.push(entry.text));
  on('Runtime.consoleAPICalled', ({ type, args }) => {
    if (['error', 'warning', 'assert'].includes(type)) seen.console.push(args.map((arg) => arg.value).join(' '));
  });
  const loaded = new Promise((resolve) => on('Page.loadEventFired', resolve));
  for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await send(`${domain}.enable`);
  const width = plan.width ?? 1200;
  await send('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: width < 600 });
  await send('Emulation.setEmulatedMedia', {
    features: [{ name: 'prefers-color-scheme', value: plan.dark ? 'dark' : 'light' }],
  });
  await send('Page.navigate', { url: plan.url });
  await loaded;
  for (const expression of plan.steps ?? []) {
    const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    seen.results.push(result.value ?? null);
  }
  if (plan.screenshot) {
    const { data } = await send('Page.captureScreenshot', { captureBeyondViewport: Boolean(plan.whole) });
    writeFileSync(plan.screenshot, Buffer.from(data, 'base64'));
  }
  return seen;
}

try {
  console.log(JSON.stringify(await main()));
} finally {
  chromium.removeAllListeners('exit');
  chromium.kill();
  await new Promise((resolve) => chromium.on('exit', resolve));
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
}
process.exit();
