// openid-client revokes tokens: the form dialect, as most Node programs speak it.
import * as client from 'openid-client';

import { privateKey, run, unknownAuth } from './steps.mjs';

async function clientAuth(step) {
	const { auth, client_secret } = step;
	switch (auth) {
		case 'basic':
			return client.ClientSecretBasic(client_secret);
		case 'post':
			return client.ClientSecretPost(client_secret);
		case 'none':
			return client.None();
		case 'private_key_jwt':
			return client.PrivateKeyJwt(await privateKey(step), {
				[client.modifyAssertion]: (_header, claims) => Object.assign(claims, step.assertion),
			});
		default:
			return unknownAuth(auth);
	}
}

await run(async (step, fetch) => {
	const server = { issuer: step.issuer ?? new URL(step.endpoint).origin, revocation_endpoint: step.endpoint };
	const config = new client.Configuration(server, step.client_id, undefined, await clientAuth(step));
	client.allowInsecureRequests(config);
	config[client.customFetch] = fetch;

	await client.tokenRevocation(config, step.token, step.hint ? { token_type_hint: step.hint } : undefined);
});
