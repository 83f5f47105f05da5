// SPDX-License-Identifier: MIT
// Node's own http2 client through the proxy: prints one JSON object of what it saw.
// usage: node client.mjs ORIGIN [CA]
import http2 from 'node:http2';
import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';

const [origin, ca] = process.argv.slice(2);
const session = http2.connect(origin, ca ? { ca: readFileSync(ca) } : {});
session.on('error', (e) => { console.error(e); process.exit(1); });

function request(head, body, options = {}) {
	return new Promise((resolve, reject) => {
		const out = { interim: [], status: 0, body: Buffer.alloc(0), trailers: null };
		const stream = session.request(head, { endStream: body === undefined && !options.open, waitForTrailers: !!options.trailers });
		const parts = [];
		stream.on('headers', (h) => out.interim.push(h[':status']));
		stream.on('response', (h) => { out.status = h[':status']; out.headers = h; });
		stream.on('continue', () => out.interim.push(100));
		stream.on('wantTrailers', () => stream.sendTrailers(options.trailers));
		stream.on('trailers', (t) => { out.trailers = { ...t }; });
		stream.on('data', (d) => { parts.push(d); if (options.on_data) options.on_data(stream, d); });
		stream.on('error', reject);
		stream.on('close', () => { out.body = Buffer.concat(parts); out.code = stream.rstCode; resolve(out); });
		if (body !== undefined)
			stream.end(body);
	});
}

const result = {};
let r = await request({ ':path': '/t/x' });
result.get = [r.status, r.body.toString()];

r = await request({ ':path': '/t/headers', cookie: ['a=1', 'b=2'] });
result.cookie = JSON.parse(r.body).filter(([n]) => n === 'cookie').map(([, v]) => v).join('; ');

const big = Buffer.alloc(3 << 20, 'firebreak ');
r = await request({ ':path': '/t/echo', ':method': 'POST' }, big);
result.echo = createHash('sha256').update(r.body).digest('hex') === createHash('sha256').update(big).digest('hex');

r = await request({ ':path': '/t/trailers' });
result.trailers = r.trailers && r.trailers['x-sum'];

r = await request({ ':path': '/t/echo', ':method': 'POST', te: 'trailers' }, 'x', { trailers: { 'x-sum': '7' } });
result.sent_trailers = String(r.trailers && r.trailers['x-trailer-back']).includes('x-sum');

r = await request({ ':path': '/t/hints' });
result.interim = r.interim;

r = await request({ ':path': '/t/bytes/1000', ':method': 'HEAD' });
result.head = [r.status, r.headers['content-length'], r.body.length];

const many = await Promise.all(Array.from({ length: 200 }, (_, i) => request({ ':path': `/t/headers?n=${i}` })));
result.many = many.every((m, i) => JSON.parse(m.body).some(([n, v]) => n === ':path' && v === `/t/headers?n=${i}`));

// extended CONNECT: bytes both ways
await new Promise((resolve) => session.remoteSettings && session.remoteSettings.enableConnectProtocol !== undefined
	? resolve() : session.once('remoteSettings', resolve));
result.connect_setting = session.remoteSettings.enableConnectProtocol;
if (result.connect_setting) {
	let seen = '';
	await new Promise((resolve, reject) => {
		const s = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws/echo', ':scheme': 'http', ':authority': 'example.com' });
		s.on('response', () => s.write('one'));
		s.on('data', (d) => { seen += d; if (seen === 'one') s.write('two'); else if (seen === 'onetwo') s.end(); });
		s.on('error', reject);
		s.on('close', resolve);
	});
	result.connect = seen;
}

// a cancel: the stream ends, the session goes on
await new Promise((resolve) => {
	const s = session.request({ ':path': '/t/never' });
	s.on('error', () => {});
	s.on('close', resolve);
	setTimeout(() => s.close(http2.constants.NGHTTP2_CANCEL), 50);
});
r = await request({ ':path': '/t/x' });
result.after_cancel = r.status;

session.close();
console.log(JSON.stringify(result));
