// A real OpenID provider (npm oidc-provider) for tests: one client, tokens as JWTs (RFC 9068).
// Arguments: port, audience. Lines on standard input: "rotate" gives it a new signing key.
import { Provider } from 'oidc-provider';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const [port, audience] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

function key() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' };
}

function provider() {
  const resource = (indicator) => ({
    scope: '', audience: indicator, accessTokenFormat: 'jwt', accessTokenTTL: 3600,
    jwt: { sign: { alg: 'ES256' } },
  });
  const made = new Provider(issuer, {
    jwks: { keys: [key()] },
    clients: [{
      client_id: 'zhang.wei', client_secret: 'secret', grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256',
    }],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true, defaultResource: () => audience,
        getResourceServerInfo: (_, indicator) => resource(indicator),
      },
    },
    extraTokenClaims: () => ({ sub: 'zhang.wei', posts: ['clerk', 'section-chief'] }),
  });
  return made.callback();
}

let answer = provider();
createServer((request, response) => answer(request, response)).listen(Number(port), '127.0.0.1',
  () => console.log('ready'));
createInterface({ input: process.stdin }).on('line', () => {
  answer = provider();
  console.log('rotated');
}).on('close', () => process.exit(0));
