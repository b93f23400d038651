import * as api from './api.js';
import { rollBack, rotate, verify } from './dialogs.js';
import { attr, byId, el, replace, say } from './dom.js';
import { Record, check, fleet } from './panels.js';
import { Series } from './series.js';
import { headline } from './state.js';
import { theme } from './theme.js';
import { table, Timeline } from './timeline.js';
import { count, stamp, took } from './time.js';

const known = { status: null, trouble: '', report: null, at: 0, watched: new Map() };

// tell says an outcome to everybody, aloud to who listens.
function tell(text, state = 'rest') {
  const box = byId('said');
  const line = el('p', { 'data-state': state }, text);
  box.append(line);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => line.remove(), state === 'look' ? 20000 : 9000);
}
addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && !document.querySelector('dialog[open]')) byId('said').replaceChildren();
});
const failed = (refused) => tell([refused.message, refused.cure].filter(Boolean).join('. '), 'look');

const series = new Series();
const lines = new Timeline({
  rotate: (name) => rotate([name], { done: begun, failed }),
  rollBack: (name) => rollBack(known.status.secrets.find((s) => s.name === name), { done: (r) => tell(r.outcome === 'active' ? `${r.secret}: the version before is in use again.` : ended(r)) }),
});
const record = new Record(async (oldest) => {
  try {
    const from = Math.max(1, oldest - 200);
    if (oldest > 1) record.add(await api.audit(from, oldest - from));
  } catch (refused) { failed(refused); }
});

const outcomes = {
  active: (r) => `${r.secret}: the new version is in use, after ${took(r.took_ms)}.`,
  rolled_back: (r) => `${r.secret}: went back to the version before.`,
  rejected: (r) => `${r.secret}: the new version was not taken${r.waiting ? `: ${r.waiting}` : ''}.`,
  unchanged: (r) => `${r.secret}: there was nothing to turn to.`,
  needs_operator: (r) => `${r.secret}: wants a person${r.waiting ? `: ${r.waiting}` : ''}.`,
  failed: (r) => `${r.secret}: failed${r.waiting ? `: ${r.waiting}` : ''}.`,
};
const ended = (r) => outcomes[r.outcome]?.(r) ?? `${r.secret}: ${r.outcome}`;
const good = (r) => r.outcome === 'active' || r.outcome === 'unchanged';

// begun remembers what was asked for here, so that the outcome is told.
function begun(rotations) {
  const open = rotations.filter((r) => r.outcome === '');
  for (const r of rotations) if (r.outcome !== '') tell(ended(r), good(r) ? 'rest' : 'look');
  if (open.length === 0) return;
  const group = { left: new Set(open.map((r) => r.id)), good: [], began: Date.now() };
  for (const r of open) known.watched.set(r.id, group);
  tell(open.length === 1 ? `${open[0].secret} is turning.` : `${count(open.length, 'secret')} are turning.`);
  if (known.status) for (const s of known.status.secrets) if (s.rotation) settle(s.rotation);
}

function settle(r) {
  const group = known.watched.get(r.id);
  if (!group || r.outcome === '') return;
  known.watched.delete(r.id);
  group.left.delete(r.id);
  if (good(r)) group.good.push(r);
  else tell(ended(r), 'look');
  if (group.left.size === 0 && group.good.length === 1) tell(ended(group.good[0]));
  else if (group.left.size === 0 && group.good.length > 1) tell(`${count(group.good.length, 'secret')} have new versions in use, after ${took(Math.max(...group.good.map((g) => g.took_ms)))}.`);
}

function show(now = Date.now()) {
  const status = known.status;
  const told = headline(status, known.trouble, now);
  byId('headline').dataset.state = told.state;
  attr(byId('sign'), 'href', `#sign-${told.state}`);
  say(byId('title-text'), told.title);
  say(byId('lead'), told.lead ?? '');
  document.title = `${told.title} – Keyway`;
  if (!status) return;
  replace(byId('notes'), status.notes.map((n) => el('li', {}, n)));
  lines.redraw(now);
  if (!byId('table-view').hidden) replace(byId('versions'), table(status, now));
  fleet(status, now);
  check(known.report, now);
}

const told = {
  status(status) {
    known.status = status;
    lines.status = status;
    for (const s of status.secrets) {
      if (s.rotation?.outcome === 'active') series.mark(s.name, s.rotation.ended_at);
      if (s.rotation) settle(s.rotation);
    }
    show();
  },
  rotation: settle,
  series({ points }) {
    series.add(points);
    byId('no-series').hidden = true;
    byId('curves').hidden = !byId('requests-table').hidden;
    series.draw();
    if (!byId('requests-table').hidden) series.table();
  },
  audit(page) {
    for (const e of record.add(page)) if (e.type === 'rotation.activated') series.mark(e.secret, e.at);
    record.show();
  },
  verify(report) {
    known.report = report;
    check(report, Date.now());
  },
  load({ running }) {
    const button = byId('load');
    if (!button) return;
    attr(button, 'aria-pressed', running);
    say(button, running ? 'Stop load' : 'Start load');
  },
  trouble({ detail }) {
    known.trouble = detail;
    show();
  },
};

api.follow((name, data) => {
  known.at = Date.now();
  told[name]?.(data);
}, (state) => {
  byId('link').dataset.state = state;
  say(byId('link-text'), state === 'open' ? 'live' : known.at ? `connection lost; this is from ${stamp(known.at)}` : 'the gateway does not answer; trying again');
});

setTimeout(() => {
  if (series.empty && known.status) {
    byId('no-series').hidden = false;
    byId('curves').hidden = true;
  }
  if (!record.head) record.show();
}, 4000);
setInterval(() => {
  if (!document.hidden) show();
}, 1000);

byId('rotate-all').addEventListener('click', () => rotate(null, { done: begun, failed }));
byId('plan-all').addEventListener('click', () => rotate(null, { only: true, failed }));
byId('verify-now').addEventListener('click', () => verify({
  done: (report) => {
    told.verify(report);
    const bad = report.checks.filter((c) => !c.ok).length;
    tell(bad ? `${bad} of ${count(report.checks.length, 'check')} failed.` : 'Verified: everything is as it should be.', bad ? 'look' : 'rest');
  },
}));
byId('load')?.addEventListener('click', async () => {
  try {
    const state = await api.setLoad(byId('load').getAttribute('aria-pressed') !== 'true');
    told.load(state);
    tell(state.running ? 'A signed-in user reads notes, 200 times a second.' : 'The load has stopped.');
  } catch (refused) { failed(refused); }
});
byId('sign-out')?.addEventListener('click', async () => {
  try {
    await api.signOut();
    location.assign('/console/sign-in');
  } catch (refused) { failed(refused); }
});

// Each figure has a table for who would rather read it.
function switchable(button, figure, grid, fill) {
  button.addEventListener('click', () => {
    const asTable = grid.hidden;
    grid.hidden = !asTable;
    figure.hidden = asTable;
    attr(button, 'aria-pressed', asTable);
    fill();
  });
}
switchable(byId('as-table'), byId('line-view'), byId('table-view'), () => {
  byId('secrets-hint').hidden = byId('line-view').hidden;
  show();
});
switchable(byId('requests-as-table'), byId('curves'), byId('requests-table'), () => {
  series.table();
  series.draw();
});
byId('passed').open = matchMedia('(min-width: 46rem)').matches;
theme(byId('theme'), () => series.restyle());
