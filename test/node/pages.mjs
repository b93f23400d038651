// The pages of the test provider: forms that a person, a browser script and an
// HTTP client can all fill in.

const page = (title, body) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${title}</title>
<meta name="viewport" content="width=device-width">
<body><main><h1>${title}</h1>${body}</main></body></html>`;

const escape = (s) => String(s).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

export const loginPage = (uid, problem = '') => page('Sign in', `
${problem && `<p role="alert">${escape(problem)}</p>`}
<form method="post" action="/interaction/${escape(uid)}">
<label>User <input name="username" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button type="submit">Sign in</button>
</form>`);

export const consentPage = (uid, params) => page('Consent', `
<p>${escape(params.client_id)} asks for: ${escape(params.scope)}</p>
<form method="post" action="/interaction/${escape(uid)}">
<button type="submit" name="consent" value="yes">Allow</button>
</form>`);

// readForm takes a URL-encoded body of at most 64 KiB.
export async function readForm(req) {
  let body = '';
  for await (const chunk of req) {
    body += chunk;
    if (body.length > 65536) throw Object.assign(new Error('form too large'), { status: 413 });
  }
  return new URLSearchParams(body);
}
