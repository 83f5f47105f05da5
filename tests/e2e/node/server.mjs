// SPDX-License-Identifier: MIT
// Node's own http2 server over TLS: 200 to everything, and says on one line of stdout what
// each handshake asked for.
// usage: node server.mjs PORT CERTIFICATE KEY [MAX_TLS_VERSION]
import http2 from 'node:http2';
import { readFileSync } from 'node:fs';

const [port, cert, key, maxVersion] = process.argv.slice(2);
const server = http2.createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), ...(maxVersion ? { maxVersion } : {}) });
server.on('secureConnection', (s) => console.log(JSON.stringify({ servername: s.servername, alpn: s.alpnProtocol, version: s.getProtocol() })));
server.on('tlsClientError', () => {});
server.on('sessionError', () => {});
server.on('stream', (stream) => {
	stream.on('error', () => {});
	stream.respond({ ':status': 200 });
	stream.end('node');
});
server.listen(Number(port), '127.0.0.1');
