// node shoot.mjs DATA OUT: a picture of every dashboard, by chromium on the path. DATA is what collect.py wrote.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';

const [data, out] = process.argv.slice(2);
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };
const server = createServer(async (request, reply) => {
  const path = new URL(request.url, 'http://x').pathname;
  const file = path.startsWith('/data/') ? join(data, path.slice(6)) : join('dist', path === '/' ? 'index.html' : path);
  try {
    reply.setHeader('content-type', types[extname(file)] ?? 'application/octet-stream');
    reply.end(await readFile(file));
  } catch {
    reply.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const base = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1576, height: 900 } });
page.on('console', (message) => message.type() === 'error' && console.error(message.text()));
page.on('pageerror', (error) => console.error('page', error.message));
for (const file of ['load', 'drill']) {
  const names = JSON.parse(await readFile(join(data, `${file}.json`))).boards.map((one) => one.dashboard.uid.replace('fraudstream-', ''));
  for (const [at, name] of names.entries()) {
    await page.goto(`${base}/?file=${file}.json&board=${at}`);
    await page.waitForSelector('#board', { timeout: 30000 });
    // An empty panel was a canvas that was not drawn yet.
    await page.waitForFunction(() => [...document.querySelectorAll('canvas')].every((one) => one.width > 0));
    await page.waitForTimeout(800);
    await (await page.$('#board')).screenshot({ path: join(out, `${name}-${file}.png`) });
    console.log(`${name}-${file}.png`);
  }
}
await browser.close();
server.close();
