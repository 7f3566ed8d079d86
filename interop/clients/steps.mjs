// What the clients here have in common: the configuration they are given and the
// lines they print.
//
//	node openid-client.mjs '{"endpoint": "http://127.0.0.1:8080/oauth2/revoke", "steps": [
//	  {"step": "revoked", "auth": "basic", "client_id": "web", "client_secret": "s", "token": "t"}]}'
//
// auth says how the client shows who it is: basic, post or none, for @moovio/sdk also
// bearer (an access token in the header, the client in the body) and both, and for
// the others also private_key_jwt. That needs private_key, a JWK for ES256; issuer, at
// the top, is the assertion's aud; a step may set assertion, claims that replace the
// library's own. Each step becomes one line:
//
//	{"step":"revoked","ok":true,"status":200,"www_authenticate":null,"retry_after":null}
//	{"step":"refused","ok":false,"status":401,…,"error":"ResponseBodyError",
//	 "code":"OAUTH_RESPONSE_BODY_ERROR","oauth_error":"invalid_client","detail":"…"}
//
// The exit status is 0 when every step could be tried, whatever came of it.

// run tries the steps one after the other. The function it is given revokes
// step.token with the library under test, throws what the library throws, and
// fetches with the function it is handed.
export async function run(revoke) {
	const { steps, ...common } = JSON.parse(process.argv[2]);
	for (const step of steps) {
		let response = null;
		const fetchAndRemember = async (...request) => (response = await fetch(...request));

		let failure = null;
		try {
			await revoke({ ...common, ...step }, fetchAndRemember);
		} catch (err) {
			failure = describe(err);
		}
		const line = {
			step: step.step,
			ok: failure === null,
			status: response?.status ?? 0,
			www_authenticate: response?.headers.get('www-authenticate') ?? null,
			retry_after: response?.headers.get('retry-after') ?? null,
			...failure,
		};
		console.log(JSON.stringify(line));
	}
}

// privateKey imports the key of a step for auth private_key_jwt, in the form that
// PrivateKeyJwt of both libraries takes.
export async function privateKey({ private_key }) {
	const key = await crypto.subtle.importKey('jwk', private_key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
	return { key, kid: private_key.kid };
}

// describe turns what a library throws into the words that its users see.
function describe(err) {
	return {
		error: err.constructor.name,
		code: err.code,
		oauth_error: err.error,
		detail: err.error_description ?? err.token ?? err.message,
	};
}

// unknownAuth is thrown for a step that the client can't do, which is a mistake in
// the test and not an answer.
export function unknownAuth(auth) {
	console.error(`this client has no auth ${JSON.stringify(auth)}`);
	process.exit(2);
}
