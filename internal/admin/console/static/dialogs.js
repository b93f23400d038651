// Nothing is done before it was said what will happen.
import * as api from './api.js';
import { byId, el, id, replace } from './dom.js';
import { previous } from './state.js';
import { all, clock, count, span, until } from './time.js';

const dialog = byId('dialog');

// ask shows what will happen and waits for the answer. With do it is asked whether;
// do runs while the dialog shows that it does, and what it throws is shown.
function ask({ title, body, yes, act, danger }) {
  const problem = byId('dialog-problem'), button = byId('dialog-yes');
  byId('dialog-title').textContent = title;
  problem.textContent = '';
  byId('dialog-body').replaceChildren(...[body].flat());
  byId('dialog-no').textContent = act ? 'Cancel' : 'Close';
  const set = (text, grave) => {
    button.hidden = !text;
    button.textContent = text ?? '';
    button.className = grave ? 'danger' : 'primary';
    button.disabled = false;
  };
  set(act && yes, danger);
  button.onclick = async () => {
    button.disabled = true;
    problem.textContent = '';
    try {
      await act();
      dialog.close();
    } catch (refused) {
      fail(refused);
      button.disabled = false;
    }
  };
  if (!dialog.open) dialog.showModal();
  byId('dialog-no').focus();
  return { set };
}

function fail(refused) {
  byId('dialog-problem').textContent = [refused.message, refused.cure].filter(Boolean).map(sentence).join(' ');
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

function summary(plans, compromised) {
  const can = plans.filter((p) => !p.refused);
  const noticed = can.flatMap((p) => p.notices.filter((n) => n !== 'nobody').map((n) => [p.secret, n]));
  const now = Date.now();
  const late = can.filter((p) => p.earliest_at && new Date(p.earliest_at) - now >= 2000);
  const them = can.length === 1 ? 'it' : 'them';
  const when = late.length === 0 ? `in use as soon as every replica holds ${them}${can.some((p) => !p.earliest_at) ? ', and its peer accepts it where there is one' : ''}` : can.length === 1 ? `in use ${until(late[0].earliest_at, now)}`
    : `${late.length === can.length ? 'in use' : `${can.length - late.length} in use at once, the others`} when it is safe`;
  const before = compromised ? 'What was before ends at once.' : `What the ${can.length === 1 ? 'version' : 'versions'} before issued stays good until it expires.`;
  return el('div', { class: 'summary' },
    can.length > 0 && el('p', {}, `${count(can.length, 'new version')}, ${when}. ${before}`),
    can.length > 0 && el('p', { class: noticed.length ? 'noticed' : 'unnoticed' }, noticed.length ? 'Somebody will notice:' : 'Nobody will notice.'),
    noticed.length > 0 && el('ul', { class: 'noticed' }, noticed.map(([name, n]) => el('li', {}, can.length > 1 ? `${name}: ${n}` : n))));
}

function when(p) {
  if (!p.earliest_at) return 'when its peer accepts it';
  return new Date(p.earliest_at) - Date.now() > 2000 ? until(p.earliest_at) : 'at once';
}

// described are the plans in full: one is open, many can be opened.
function described(plans) {
  return plans.map((p) => el('details', { class: 'plan', open: plans.length === 1, 'data-refused': p.refused ? 'true' : null },
    el('summary', {}, el('strong', {}, p.secret), ' ', p.from && ['from ', id(p.from, 6)], el('span', { class: 'when' }, p.refused ? 'can’t be rotated now' : when(p))),
    p.refused ? el('p', {}, sentence(p.refused)) : el('ol', {}, p.steps.map((s) => el('li', {}, s))),
    p.blocked?.length > 0 && el('p', { class: 'noticed' }, `Held up by ${all(p.blocked)}.`)));
}

// rotate plans, shows, asks and begins. No names: everything. only: the plan.
export async function rotate(names, { only = false, done, failed }) {
  let compromised = false;
  const title = names ? `Rotate ${all(names)}` : 'Rotate everything';
  const body = el('div');
  const box = names && !only && el('label', { class: 'choice' }, el('input', { type: 'checkbox', on: { change: (e) => { compromised = e.target.checked; look(); } } }),
    el('span', {}, el('strong', {}, 'Somebody else may have it.'), ' End the versions before at once, and what was issued with them.'));
  let shown;
  const look = async () => {
    const plans = await api.plan(names, compromised);
    const can = plans.filter((p) => !p.refused).length;
    replace(body, summary(plans, compromised), el('div', { class: 'plans' }, described(plans)));
    shown?.set(can === 0 || only ? null : names?.length === 1 ? 'Rotate now' : `Rotate ${count(can, 'secret')} now`, compromised);
    return can;
  };
  try {
    const can = await look();
    shown = ask({
      title: only ? `Plan: ${title.toLowerCase()}` : title, body: [body, box].filter(Boolean),
      yes: names?.length === 1 ? 'Rotate now' : `Rotate ${count(can, 'secret')} now`,
      act: only || can === 0 ? null : async () => done(await api.rotate(names, compromised)),
    });
  } catch (refused) {
    failed(refused);
  }
}

export function rollBack(s, { done }) {
  const turn = previous(s);
  if (!turn) return;
  const later = turn.to?.retires_at ? span((new Date(turn.to.retires_at) - Date.now()) / 1000) : '';
  const body = turn.gives === 'up'
    ? [el('p', {}, 'The pending version ', id(turn.from.id, 10), ' is given up. ', id(turn.to?.id, 10), ' stays in use.'), el('p', { class: 'unnoticed' }, 'Nobody will notice.')]
    : [el('p', {}, id(turn.to.id, 10), ', in use until ', clock(turn.from.activated_at ?? turn.from.created_at), ', is used again at once.'),
      el('p', {}, 'What was issued with ', id(turn.from.id, 10), ' in the meantime is still accepted.'),
      el('p', { class: 'unnoticed' }, 'Nobody will notice.'), later && el('p', { class: 'hint' }, `Possible for ${later} more.`)];
  ask({ title: `Roll back ${s.name}`, body: el('div', { class: 'summary' }, body), yes: turn.gives === 'up' ? 'Give it up' : 'Roll back now', act: async () => done(await api.rollBack(s.name)) });
}

// verify says what will be done, and shows that it goes on.
export function verify({ done }) {
  ask({
    title: 'Verify', yes: 'Verify now',
    body: el('div', { class: 'summary' }, el('p', {}, 'The gateway goes through the checklist: its published keys, each credential at its provider, the sign-in up to the provider’s page, bearer tokens, what each version issued, and whether all replicas hold the same.'),
      el('p', { class: 'unnoticed' }, 'Nothing is changed, and nobody will notice.'), el('p', { class: 'hint' }, 'It takes some seconds.')),
    act: async () => done(await api.verify()),
  });
}
