// A real OpenID Provider for the tests: npm oidc-provider, configured by one
// JSON document on stdin (see internal/testkit/realidp), on a loopback port of
// its own. It prints `ready <issuer>` when it can be used, keeps everything in
// memory, and ends when stdin is closed, which is when its parent dies.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';
import { consentPage, loginPage, readForm } from './pages.mjs';

const ACCOUNTS = {
  ada: { password: 'demo', name: 'Ada Lovelace', email: 'ada@example.test' },
  grace: { password: 'demo', name: 'Grace Hopper', email: 'grace@example.test' },
};

const options = await firstLine(process.stdin);
process.stdin.on('end', () => process.exit(0)).resume();

const server = createServer();
server.listen(options.port ?? 0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration(options));
  const log = [];
  const behaviour = new Map(); // path -> { delay_ms, status }
  const clients = changeable(provider);
  provider.use(recordInto(log));
  const oidc = provider.callback();
  server.on('request', async (req, res) => {
    const { pathname } = new URL(req.url, issuer);
    try {
      if (pathname.startsWith('/test/')) return await control(pathname, req, res, log, behaviour, clients);
      if (pathname.startsWith('/interaction/')) return await interaction(provider, req, res);
      const b = behaviour.get(pathname);
      if (b?.delay_ms) await new Promise((done) => setTimeout(done, b.delay_ms));
      if (b?.status) return res.writeHead(b.status, { 'content-type': 'text/plain' }).end('as the test asked\n');
      return oidc(req, res);
    } catch (err) {
      console.error(err);
      if (!res.headersSent) res.writeHead(err.status ?? 500).end(`${err.message}\n`);
    }
  });
  for (const event of ['server_error', 'authorization.error', 'grant.error', 'pushed_authorization_request.error']) {
    provider.on(event, (_ctx, err) => console.error(event, err.message, err.error_detail ?? '', err.cause?.message ?? ''));
  }
  console.log(`ready ${issuer}`);
});

function configuration(o) {
  const ttl = {};
  for (const [model, seconds] of Object.entries(o.ttl ?? {})) ttl[model] = seconds;
  return {
    clients: o.clients,
    jwks: { keys: signingKeys() },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    ttl,
    scopes: ['openid', 'offline_access', ...(o.scopes ?? [])],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: !o.claims_in_id_token,
    interactions: { url: (_ctx, i) => `/interaction/${i.uid}` },
    pkce: { required: () => true },
    rotateRefreshToken: !!o.rotate_refresh_token,
    // A client that may use refresh tokens gets them without asking for
    // offline_access, as most providers in the field do it.
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    findAccount: (_ctx, sub) => account(sub),
    clientBasedCORS: () => false,
    // The default refuses loopback addresses by a dispatcher that guards against
    // server-side request forgery. Our jwks_uri is on loopback.
    fetch: (url, { dispatcher, ...rest }) => globalThis.fetch(url, rest),
    renderError: (ctx, out) => {
      ctx.type = 'json';
      ctx.body = out;
    },
    enabledJWA: {
      clientAuthSigningAlgValues: ['ES256', 'PS256', 'RS256', 'EdDSA'],
      ...(o.client_auth_algs && { clientAuthSigningAlgValues: o.client_auth_algs }),
    },
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: !!o.signed_introspection },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      userinfo: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => {
          ctx.body = `<!doctype html><title>Sign out</title>${form.replace(
            '</form>', '<button name="logout" value="yes">Sign out</button></form>')}`;
        },
      },
      // FAPI 2.0 with Message Signing: every request signed, every response signed,
      // every token bound, and a nonce wanted in each proof.
      ...(o.fapi && {
        fapi: { enabled: true, profile: '2.0' },
        requestObjects: { enabled: true, requireSignedRequestObject: true },
        jwtResponseModes: { enabled: true },
        dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
      }),
      pushedAuthorizationRequests: {
        enabled: o.par !== 'off',
        requirePushedAuthorizationRequests: o.par === 'required',
      },
      resourceIndicators: {
        enabled: true,
        // Only machines get JWT access tokens, so that userinfo, which wants a
        // token for the provider itself, goes on working for users.
        defaultResource: (ctx) =>
          (ctx.oidc.params?.grant_type === 'client_credentials' && o.jwt_audience) || undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => {
          if (resource !== o.jwt_audience) throw new errors.InvalidTarget();
          return { scope: o.jwt_scope ?? '', audience: resource, accessTokenFormat: o.access_token_format ?? 'jwt', jwt: { sign: { alg: 'ES256' } } };
        },
      },
    },
  };
}

function signingKeys() {
  return [
    ['rsa', { modulusLength: 2048 }, 'RS256'],
    ['ec', { namedCurve: 'P-256' }, 'ES256'],
  ].map(([type, params, alg]) => ({
    ...generateKeyPairSync(type, params).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `idp-${alg}`,
  }));
}

function account(sub) {
  const a = ACCOUNTS[sub];
  return a && {
    accountId: sub,
    claims: () => ({ sub, name: a.name, preferred_username: sub, email: a.email, email_verified: true }),
  };
}

// interaction is the provider's pages: plain HTML forms, first the account,
// then the consent.
async function interaction(provider, req, res) {
  const details = await provider.interactionDetails(req, res);
  const { prompt, params, session, uid } = details;
  const page = (status, html) => res.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(html);
  if (req.method === 'GET') {
    return page(200, prompt.name === 'login' ? loginPage(uid) : consentPage(uid, params));
  }
  const form = await readForm(req);
  if (prompt.name === 'login') {
    const user = form.get('username');
    if (!Object.hasOwn(ACCOUNTS, user) || ACCOUNTS[user].password !== form.get('password')) {
      return page(401, loginPage(uid, 'No such user, or another password.'));
    }
    return provider.interactionFinished(req, res, { login: { accountId: user } });
  }
  if (form.get('consent') !== 'yes') {
    return provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'refused on the consent page' });
  }
  const grant = details.grantId
    ? await provider.Grant.find(details.grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) grant.addResourceScope(resource, scopes.join(' '));
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

// recordInto keeps what arrived, for tests to assert on. The secrets in it are
// throw-away ones.
function recordInto(log) {
  return async (ctx, next) => {
    await next();
    log.push({
      method: ctx.method,
      path: ctx.path,
      status: ctx.status,
      query: Object.fromEntries(new URLSearchParams(ctx.querystring)),
      body: ctx.oidc?.body ?? {},
      authorization: ctx.get('authorization').split(' ')[0],
      client_id: ctx.oidc?.client?.clientId ?? '',
      proof: ctx.get('dpop'),
    });
  };
}

// control is the test's own door: what has arrived, and how to misbehave.
async function control(path, req, res, log, behaviour, clients) {
  if (req.method === 'GET' && path === '/test/requests') {
    return res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(log));
  }
  if (req.method === 'POST' && path === '/test/behave') {
    const form = await readForm(req);
    behaviour.set(form.get('path'), { delay_ms: Number(form.get('delay_ms')), status: Number(form.get('status')) });
    return res.writeHead(204).end();
  }
  if (req.method === 'POST' && path === '/test/secrets') {
    const form = await readForm(req);
    clients.secrets.set(form.get('client_id'), form.getAll('secret'));
    return res.writeHead(204).end();
  }
  if (req.method === 'POST' && path === '/test/token-format') {
    const form = await readForm(req);
    options.access_token_format = form.get('format'); // of machines' tokens: jwt or opaque
    return res.writeHead(204).end();
  }
  if (req.method === 'POST' && path === '/test/jwks-keep') {
    const form = await readForm(req);
    clients.keepJWKS(form.get('client_id'), Number(form.get('seconds')));
    return res.writeHead(204).end();
  }
  if (req.method === 'POST' && path === '/test/bound') {
    const form = await readForm(req);
    return res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ jkt: await clients.bound(form.get('token')) }));
  }
  return res.writeHead(404).end();
}

// changeable lets a test change what the provider knows of its clients while it
// runs: the client secrets that are good now, which may be several, as providers
// have it whose operators rotate secrets; and how long a client's key set is kept,
// which is never less than a minute as oidc-provider comes.
function changeable(provider) {
  const secrets = new Map(); // client id -> secrets that are good
  const { Client } = provider;
  const one = Client.prototype.compareClientSecret;
  Client.prototype.compareClientSecret = function compareClientSecret(actual) {
    const known = secrets.get(this.clientId);
    return known ? known.includes(actual) : one.call(this, actual);
  };
  const keepJWKS = async (id, seconds) => {
    const { asymmetricKeyStore: store } = await Client.find(id);
    setInterval(() => {
      store.freshUntil = Math.min(store.freshUntil, Math.floor(Date.now() / 1000) + seconds) || undefined;
    }, 200).unref();
  };
  // The key that an access token of a user's is bound to.
  const bound = async (token) => (await provider.AccessToken.find(token))?.jkt ?? '';
  return { secrets, keepJWKS, bound };
}

async function firstLine(stream) {
  stream.setEncoding('utf8');
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return JSON.parse(text);
}
