// An authorization server to try Caddy's relay with: oidc-provider, a certified
// OpenID provider, as it would run behind Caddy. It keeps everything but its keys in
// memory, and logs in whoever login_hint names without asking for a password. So it is
// good for trying and testing, and for nothing else.
//
//	node server.mjs --port 3000 --issuer http://127.0.0.1:8080 --keys keys.json
//
// The issuer is the address that clients know, which is Caddy's. SIGHUP rotates the
// keys: a new one signs from then on, and the one before it is still published.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

import { Provider } from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const { values: options } = parseArgs({
	options: {
		port: { type: 'string', default: '3000' },
		issuer: { type: 'string', default: 'http://127.0.0.1:8080' },
		keys: { type: 'string', default: 'keys.json' },
	},
});

// An access token for one of these resources is a JWT, for the other it is opaque.
const resources = {
	'urn:api:jwt': { scope: 'api', accessTokenFormat: 'jwt' },
	'urn:api:opaque': { scope: 'api', accessTokenFormat: 'opaque' },
};

const app = {
	redirect_uris: ['https://app.example/callback'],
	grant_types: ['authorization_code', 'refresh_token'],
	scope: 'openid offline_access api',
};

const configuration = {
	clients: [
		{ ...app, client_id: 'web-app', client_secret: 'web-app-secret' },
		{ ...app, client_id: 'other-app', client_secret: 'other-app-secret' },
		{ ...app, client_id: 'spa', token_endpoint_auth_method: 'none' },
		// Caddy itself, which asks what opaque tokens are worth and can't log anybody in.
		{ client_id: 'caddy', client_secret: 'caddy-secret', redirect_uris: [], response_types: [], grant_types: [] },
	],
	features: {
		devInteractions: { enabled: false },
		introspection: { enabled: true },
		revocation: { enabled: true },
		resourceIndicators: {
			enabled: true,
			defaultResource: () => 'urn:api:opaque',
			useGrantedResource: () => true, // refreshed access tokens are for the same resource
			getResourceServerInfo: (ctx, resource) => ({ ...resources[resource], audience: resource }),
		},
	},
	scopes: ['openid', 'offline_access', 'api'],
	pkce: { required: () => true },
	ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400, Session: 86400 },
	findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
	cookies: { keys: [randomBytes(32).toString('base64url')] },
	adapter: createMemoryAdapter(), // outlives the rotation of keys
};

// interact answers what the provider asks the user, as a user who says yes to
// everything.
async function interact(provider, req, res) {
	const { prompt, params, session } = await provider.interactionDetails(req, res);
	if (prompt.name === 'login') {
		return provider.interactionFinished(req, res, { login: { accountId: params.login_hint } });
	}
	const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
	grant.addOIDCScope(params.scope);
	for (const resource of Object.keys(resources)) {
		grant.addResourceScope(resource, resources[resource].scope);
	}
	return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

// newKey makes a signing key. The first in the set signs.
function newKey() {
	const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
	return { ...privateKey.export({ format: 'jwk' }), kid: randomBytes(8).toString('hex'), use: 'sig', alg: 'RS256' };
}

// serveWith begins to serve with a set of keys and keeps it for the next start.
let provider;
let answer;
function serveWith(keys) {
	writeFileSync(options.keys, JSON.stringify({ keys }), { mode: 0o600 });
	provider = new Provider(options.issuer, { ...configuration, jwks: { keys } });
	provider.proxy = true; // Caddy says which address the client used
	answer = provider.callback();
	console.log(`keys ${keys.map((key) => key.kid).join(' ')}`);
	return keys;
}

let keys = serveWith(existsSync(options.keys) ? JSON.parse(readFileSync(options.keys)).keys : [newKey()]);
process.on('SIGHUP', () => (keys = serveWith([newKey(), keys[0]])));

const server = createServer((req, res) => {
	if (!req.url.startsWith('/interaction/')) {
		return answer(req, res);
	}
	interact(provider, req, res).catch((err) => {
		res.statusCode = 400;
		res.end(err.message);
	});
});
server.listen(Number(options.port), '127.0.0.1', () => console.log(`listening on ${options.port} as ${options.issuer}`));
