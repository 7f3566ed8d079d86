// @moovio/sdk revokes tokens: the JSON dialect. The SDK has its path built in, so
// the endpoint must be at /oauth2/revoke.
import { Moov } from '@moovio/sdk';
import { HTTPClient } from '@moovio/sdk/lib/http.js';

import { run, unknownAuth } from './steps.mjs';

// credentials returns the SDK's options and the members of the request's body that
// show who the client is.
function credentials({ auth, client_id, client_secret, body_client_id, access_token }) {
	const inBody = { clientId: body_client_id ?? client_id, clientSecret: client_secret };
	switch (auth) {
		case 'basic':
			return [{ security: { username: client_id, password: client_secret } }, {}];
		case 'post':
		case 'none':
			return [{}, inBody];
		case 'bearer': // what an app does that otherwise calls with an access token
			return [{ accessToken: access_token }, inBody];
		case 'both':
			return [{ security: { username: client_id, password: client_secret } }, inBody];
		default:
			return unknownAuth(auth);
	}
}

await run(async (step, fetch) => {
	const [options, inBody] = credentials(step);
	const moov = new Moov({
		serverURL: new URL(step.endpoint).origin,
		httpClient: new HTTPClient({ fetcher: fetch }),
		...options,
	});

	await moov.authentication.revokeAccessToken({ token: step.token, tokenTypeHint: step.hint, ...inBody });
});
