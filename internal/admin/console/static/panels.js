// The fleet, the last check and the record.
import { byId, el, id, replace, say } from './dom.js';
import { replicaName, step } from './state.js';
import { ago, clock, count, span, stamp, took } from './time.js';

export function fleet(status, now) {
  say(byId('store'), status.store ? `Rings are in ${status.store}.` : '');
  replace(byId('replicas'), status.replicas.map((r) => {
    const holds = Object.values(r.holds).reduce((n, ids) => n + ids.length, 0);
    const lacks = r.lacks ?? [];
    const what = !r.live ? `silent; last heard ${ago(r.seen_at, now)}; holds nothing up`
      : lacks.length ? `lacks ${count(lacks.length, 'version')}` : `holds all ${holds} live versions`;
    return el('li', { class: 'replica', 'data-state': !r.live ? 'gone' : lacks.length ? 'look' : 'rest' },
      el('div', {}, el('h3', {}, replicaName(r, status.replicas)), r.id === status.leader && el('span', { class: 'tag' }, 'leads'),
        el('p', { class: 'holds' }, what)),
      el('p', { class: 'hint' }, id(r.id, 10), r.started_at && ` up for ${span((now - new Date(r.started_at)) / 1000)}`),
      lacks.length > 0 && el('ul', { class: 'lacks' }, lacks.map((l) => {
        const [name, version] = l.split(' ');
        return el('li', {}, name, ' ', id(version, 10));
      })),
      Object.keys(r.holds).length > 0 && held(r));
  }));
}

// held is what a replica has, the version that it issues with first. What was open
// stays so.
function held(r) {
  const known = byId('replicas').querySelector(`details[data-replica="${CSS.escape(r.id)}"]`);
  return el('details', { class: 'held', 'data-replica': r.id, open: known?.open },
    el('summary', {}, 'What it holds'),
    el('dl', {}, Object.keys(r.holds).sort().map((name) => [el('dt', {}, name),
      el('dd', {}, r.holds[name].map((v, i) => [i > 0 && ' ', el('code', { class: v === r.issues[name] ? 'id issues' : 'id', title: v }, v.slice(0, 6))]))])));
}

export function check(report, now) {
  if (!report) return;
  const bad = report.checks.filter((c) => !c.ok), skipped = report.checks.filter((c) => c.skipped);
  say(byId('check-when'), `${ago(report.at, now)}, in ${took(report.checks.reduce((n, c) => Math.max(n, c.took_ms), 0))}`);
  const passed = report.checks.length - bad.length - skipped.length;
  say(byId('check-verdict'), bad.length ? `${bad.length} of ${count(report.checks.length, 'check')} failed.` : `${count(passed, 'check')} passed${skipped.length ? `, ${skipped.length} left out` : ''}.`);
  byId('check').dataset.state = bad.length ? 'bad' : 'good';
  const order = (c) => (!c.ok ? 0 : c.skipped ? 2 : 1);
  const item = (c) => {
    const state = !c.ok ? 'failed' : c.skipped ? 'left out' : 'passed';
    return el('li', { class: 'check', 'data-state': state },
      el('span', { class: 'glyph', 'aria-hidden': 'true' }, { failed: '✕', passed: '✓', 'left out': '–' }[state]),
      el('div', {}, el('h3', {}, c.name, el('span', { class: 'unseen' }, `: ${state}`)), el('p', {}, c.saw),
        c.cause && el('p', { class: 'cause' }, c.cause), c.cure && el('p', { class: 'cure' }, c.cure)),
      el('span', { class: 'hint' }, c.skipped ? '' : took(c.took_ms)));
  };
  replace(byId('failures'), bad.map(item));
  replace(byId('checks'), report.checks.filter((c) => c.ok).toSorted((a, b) => order(a) - order(b)).map(item));
  byId('passed').hidden = false;
  say(byId('passed-title'), bad.length ? `What passed (${passed})` : 'What each of them saw');
}

const words = {
  'rotation.asked': 'asked to rotate', 'rotation.ended': 'rotation ended', 'verify.finished': 'verified', 'secret.trouble': 'trouble with the source',
  'secret.recovered': 'source is well again', 'fleet.joined': 'joined the fleet', 'fleet.left': 'left the fleet', 'audit.dropped': 'older entries dropped',
  'audit.cut': 'the record was cut', 'audit.lost': 'entries were lost', 'admin.signed_in': 'signed in', 'admin.refused': 'sign-in refused',
};
const grave = new Set(['secret.trouble', 'audit.cut', 'audit.lost', 'admin.refused', 'rotation.rolled_back', 'rotation.rejected']);

// Record keeps what was told of the chain, by number.
export class Record {
  #entries = new Map();
  #names = new Set();
  #most = 25; // that are shown
  head = null;

  // older is asked to add what is before an entry.
  constructor(older) {
    byId('record-filter').addEventListener('change', () => this.show());
    byId('more-entries').addEventListener('click', async () => {
      this.#most += 100;
      if (this.#entries.size < this.#most) await older(Math.min(...this.#entries.keys()));
      this.show();
    });
  }

  // add takes a page, and gives the entries that are new.
  add(page) {
    const fresh = [];
    page.lines.forEach((line, i) => {
      const seq = page.first + i;
      const known = this.#entries.get(seq);
      if (known?.line === line) return;
      if (known) this.#forget(seq); // the chain was cut, and goes on otherwise
      let entry = {};
      try { entry = JSON.parse(line); } catch { entry = { type: 'an entry that can’t be read' }; }
      this.#entries.set(seq, { ...entry, line });
      fresh.push(entry);
      if (entry.secret) this.#names.add(entry.secret);
    });
    if (!this.head || page.head.seq >= this.head.seq) this.head = page.head;
    return fresh;
  }

  #forget(from) {
    for (const seq of [...this.#entries.keys()]) if (seq >= from) this.#entries.delete(seq);
    this.head = null;
  }

  show() {
    const filter = byId('record-filter'), wanted = filter.value;
    for (const name of [...this.#names].sort()) {
      if (![...filter.options].some((o) => o.value === name)) filter.append(el('option', { value: name }, name));
    }
    const found = [...this.#entries].filter(([, e]) => !wanted || e.secret === wanted).sort((a, b) => b[0] - a[0]);
    say(byId('record-head'), this.head?.seq ? `${count(this.head.seq, 'entry', 'entries')}, chained by hash; the head is ${this.head.signature ? 'signed' : 'not signed'}.` : '');
    byId('no-entries').hidden = found.length > 0;
    say(byId('no-entries'), this.head ? (wanted ? `Nothing about ${wanted} among those shown.` : 'No entries yet.') : 'This gateway keeps no record.');
    byId('more-entries').hidden = found.length <= this.#most && (this.#entries.size === 0 || Math.min(...this.#entries.keys()) <= 1);
    replace(byId('entries'), found.slice(0, this.#most).map(([seq, e]) => el('li', { class: 'entry', 'data-grave': grave.has(e.type) ? 'true' : null },
      el('time', { datetime: e.at ?? '', title: e.at ? stamp(e.at) : '' }, e.at ? clock(e.at) : '–'),
      el('span', { class: 'what' }, words[e.type] ?? step((e.type ?? '').replace(/^rotation\./, ''))),
      el('span', { class: 'whose' }, e.secret ?? '', e.to && [' ', id(e.to, 6)]),
      el('span', { class: 'more' }, [e.outcome && step(e.outcome), e.detail, e.actor].filter(Boolean).join(' · ')),
      el('span', { class: 'seq' }, `#${seq}`))));
  }
}
