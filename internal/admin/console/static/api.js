// The admin API, as this page uses it.

export class Refused extends Error {
  constructor(problem, status) {
    super(problem.detail || problem.title || `the gateway answered with status ${status}`);
    this.cure = problem.cure ?? '';
    this.status = status;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: 'error',
    });
  } catch {
    throw new Refused({ detail: 'the gateway does not answer', cure: 'Look whether it runs; this page goes on by itself when it does.' }, 0);
  }
  const text = await answer.text();
  let value = {};
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch { /* the status has to do */ }
  if (!answer.ok) {
    if (answer.status === 401 && path !== '/console/session') location.assign('/console/sign-in');
    throw new Refused(value, answer.status);
  }
  return value;
}

export const plan = (secrets, compromised = false) =>
  ask('POST', '/admin/v1/rotations', { ...(secrets ? { secrets } : { all: true }), compromised, plan: true }).then((a) => a.plans);
export const rotate = (secrets, compromised = false) =>
  ask('POST', '/admin/v1/rotations', { ...(secrets ? { secrets } : { all: true }), compromised }).then((a) => a.rotations);
export const rollBack = (secret) => ask('POST', '/admin/v1/rollbacks', { secret }).then((a) => a.rotations[0]);
export const verify = () => ask('POST', '/admin/v1/verify', {});
export const audit = (from, most) => ask('GET', `/admin/v1/audit?from=${from}&most=${most}`);
export const setLoad = (running) => ask('POST', '/admin/v1/load', { running });
export const session = () => ask('GET', '/console/session');
export const signIn = (token) => ask('POST', '/console/session', { token });
export const signOut = () => ask('DELETE', '/console/session');

// follow reads events until the page ends, and comes back by itself. told is called
// with the name and the data of each; state with open, lost or over.
export function follow(told, state) {
  let source, heard, timer;
  const connect = () => {
    clearTimeout(timer);
    source?.close();
    heard = Date.now();
    source = new EventSource('/admin/v1/events');
    for (const name of ['status', 'series', 'rotation', 'audit', 'verify', 'load', 'trouble']) {
      source.addEventListener(name, (e) => {
        heard = Date.now();
        told(name, JSON.parse(e.data));
      });
    }
    source.addEventListener('open', () => state('open'));
    source.addEventListener('over', lost);
    source.addEventListener('error', lost);
  };
  const lost = async () => {
    state('lost');
    source.close();
    clearTimeout(timer);
    timer = setTimeout(connect, 2000);
    try {
      if (!(await session()).signed_in) location.assign('/console/sign-in');
    } catch { /* it is away: connect tries again */ }
  };
  // A connection that died without a word: something comes every ten seconds.
  setInterval(() => { if (Date.now() - heard > 25000) connect(); }, 5000);
  connect();
}
