// oauth4webapi revokes tokens: the library under openid-client, used by itself in
// browsers and at the edge.
import * as oauth from 'oauth4webapi';

import { privateKey, run, unknownAuth } from './steps.mjs';

async function clientAuth(step) {
	const { auth, client_secret } = step;
	switch (auth) {
		case 'basic':
			return oauth.ClientSecretBasic(client_secret);
		case 'post':
			return oauth.ClientSecretPost(client_secret);
		case 'none':
			return oauth.None();
		case 'private_key_jwt':
			return oauth.PrivateKeyJwt(await privateKey(step), {
				[oauth.modifyAssertion]: (_header, claims) => Object.assign(claims, step.assertion),
			});
		default:
			return unknownAuth(auth);
	}
}

await run(async (step, fetch) => {
	const server = { issuer: step.issuer ?? new URL(step.endpoint).origin, revocation_endpoint: step.endpoint };
	const client = { client_id: step.client_id };
	const options = {
		[oauth.allowInsecureRequests]: true,
		[oauth.customFetch]: fetch,
		additionalParameters: step.hint ? { token_type_hint: step.hint } : undefined,
	};

	const response = await oauth.revocationRequest(server, client, await clientAuth(step), step.token, options);
	await oauth.processRevocationResponse(response);
});
