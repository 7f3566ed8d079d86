// A client of the authorization server: it logs a user in with an authorization code
// and PKCE, refreshes and revokes, with openid-client, and prints what it got as JSON.
//
//	node client.mjs login alice
//	node client.mjs login alice --client spa --resource urn:api:opaque
//	node client.mjs refresh <refresh token>
//	node client.mjs revoke <token> --hint refresh_token
//	node client.mjs introspect <token> --client caddy
//
// Without arguments it reads such commands from its input, line by line.
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import * as client from 'openid-client';

const callback = 'https://app.example/callback';

// connect discovers the server for a client of it.
async function connect({ issuer, client: id }) {
	const auth = id === 'spa' ? client.None() : client.ClientSecretBasic(`${id}-secret`);
	return client.discovery(new URL(issuer), id, undefined, auth, { execute: [client.allowInsecureRequests] });
}

// browse follows redirects as a browser with an empty cookie jar does, until one
// leads to the client.
async function browse(url) {
	const jar = new Map();
	while (!url.href.startsWith(callback)) {
		const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
		const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
		for (const line of response.headers.getSetCookie()) {
			const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
			jar.set(name, value);
		}
		if (!response.headers.has('location')) {
			throw new Error(`${url.pathname} answers ${response.status}: ${await response.text()}`);
		}
		url = new URL(response.headers.get('location'), url);
	}
	return url;
}

const commands = {
	async login(config, user, { resource }) {
		const verifier = client.randomPKCECodeVerifier();
		const url = client.buildAuthorizationUrl(config, {
			redirect_uri: callback,
			scope: 'openid offline_access api',
			prompt: 'consent',
			login_hint: user,
			resource,
			code_challenge: await client.calculatePKCECodeChallenge(verifier),
			code_challenge_method: 'S256',
		});
		const back = await browse(url);
		return client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, idTokenExpected: true }, { resource });
	},
	refresh: (config, token) => client.refreshTokenGrant(config, token),
	revoke: (config, token, { hint }) => client.tokenRevocation(config, token, hint && { token_type_hint: hint }),
	introspect: (config, token) => client.tokenIntrospection(config, token),
};

// run does one command and prints what came of it.
async function run(args) {
	let result;
	try {
		// The argument is no option, even if it is a token that begins with a dash.
		const [name, argument, ...rest] = args;
		const { values: options } = parseArgs({
			args: rest,
			options: {
				issuer: { type: 'string', default: 'http://127.0.0.1:8080' },
				client: { type: 'string', default: 'web-app' },
				resource: { type: 'string', default: 'urn:api:jwt' },
				hint: { type: 'string' },
			},
		});
		if (!Object.hasOwn(commands, name)) {
			throw new Error(`no such command: ${name}`);
		}
		result = (await commands[name](await connect(options), argument, options)) ?? {};
	} catch (err) {
		result = {
			error: err.error ?? err.code ?? err.name,
			error_description: err.error_description ?? err.message,
			status: err.status ?? err.cause?.status,
		};
	}
	console.log(JSON.stringify(result));
	return result;
}

if (process.argv.length > 2) {
	const { error } = await run(process.argv.slice(2));
	process.exitCode = error ? 1 : 0;
} else {
	for await (const line of createInterface({ input: process.stdin })) {
		await run(line.trim().split(/\s+/));
	}
}
