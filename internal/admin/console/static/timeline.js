// All secrets on one time line. Time is compressed the further it is from now
// (a logarithm on both sides), so that a version of ten seconds and a rotation in
// ninety days have room on the same line.
import { attr, byId, el, id, replace, say, svg } from './dom.js';
import { describe, live, marks, previous, replicaName, step, underWay, version } from './state.js';
import { count, short, stamp, until } from './time.js';

const rowHeight = 24, barHeight = 12, inset = 6;
const grain = 5; // seconds: below that the line is almost even
const f = (s) => Math.log1p(Math.max(0, s) / grain);

// scale says where a moment is, for one width.
function scale(width, past, future) {
  const nowX = Math.round(width * 0.7);
  const left = (nowX - inset) / f(past), right = (width - nowX - inset) / f(future);
  return {
    nowX, width, past, future,
    x: (s) => s <= 0 ? nowX - f(Math.min(-s, past)) * left : nowX + f(Math.min(s, future)) * right,
  };
}

// range is how far back and ahead there is anything to see, in seconds.
function range(secrets, now) {
  let past = 120, future = 120;
  const see = (when) => {
    if (!when) return;
    const s = (new Date(when) - now) / 1000;
    if (s < 0) past = Math.max(past, -s * 1.3);
    else future = Math.max(future, s * 1.3);
  };
  for (const s of secrets) {
    see(s.next_rotation_at);
    for (const v of shown(s).versions) [v.created_at, v.activated_at, v.retires_at].forEach(see);
  }
  return [past, future];
}

const most = 6; // versions of a secret that have a row

// shown are the versions with a row: those that live, and the newest that does not.
function shown(s) {
  const alive = live(s), gone = s.versions.filter((v) => !alive.includes(v));
  const versions = s.versions.filter((v) => alive.includes(v) || v === gone[0]).slice(0, most);
  return { versions, more: s.versions.length - versions.length };
}

const ticks = [60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400, 365.25 * 86400, 5 * 365.25 * 86400];

function marksOf(at) {
  const found = [];
  const spread = (sign, limit, end) => {
    let last = at.nowX;
    for (const t of ticks) {
      const x = at.x(sign * t);
      if (t >= limit || Math.abs(x - last) < 58 || Math.abs(x - end) < 22) continue;
      found.push([x, short(t)]);
      last = x;
    }
  };
  spread(-1, at.past, 0);
  spread(1, at.future, at.width);
  return found;
}

const labels = (at, y) => [
  marksOf(at).map(([x, text]) => svg('text', { class: 'tick', x, y, 'text-anchor': 'middle' }, text)),
  svg('text', { class: 'tick now', x: at.nowX, y, 'text-anchor': 'middle' }, 'now'),
];

const axis = (at) => svg('svg', { width: at.width, height: 26, viewBox: `0 0 ${at.width} 26` }, labels(at, 17));

const radius = { rx: 2 };

// bars are the shapes of one version, in its row.
function bars(v, s, at, y, now) {
  const sec = (when) => (new Date(when) - now) / 1000;
  const top = y + (rowHeight - barHeight) / 2;
  const made = v.created_at ? at.x(sec(v.created_at)) : inset;
  const used = v.activated_at ? at.x(sec(v.activated_at)) : null;
  const box = (x1, x2, name, paint) => svg('rect', { class: `bar ${name}`, x: x1.toFixed(1), y: top, width: Math.max(3, x2 - x1).toFixed(1), height: barHeight, fill: paint, ...radius });
  const wait = (to) => to - made > 4 ? svg('line', { class: 'wait', x1: made, x2: to, y1: y + rowHeight / 2, y2: y + rowHeight / 2 }) : null;
  switch (v.state) {
    case 'pending': return [box(made, at.nowX, 'pending')];
    case 'active': {
      const from = used ?? made;
      const next = s.next_rotation_at && sec(s.next_rotation_at) > 0 ? at.x(sec(s.next_rotation_at)) : null;
      const middle = y + rowHeight / 2;
      return [
        wait(from), box(from, at.nowX, 'active' + (now - new Date(v.activated_at ?? v.created_at) < 4000 ? ' fresh' : '')),
        next && svg('line', { class: 'ahead', x1: at.nowX, x2: next - 6, y1: middle, y2: middle }),
        next && svg('path', { class: 'next', d: `M${next} ${middle - 5}l5 5-5 5-5-5Z` }, svg('title', {}, `turns ${until(s.next_rotation_at, now)}`)),
      ];
    }
    case 'retiring': {
      const end = v.retires_at ? at.x(sec(v.retires_at)) : at.nowX;
      const heir = s.versions.find((o) => o.state === 'active');
      // One that was rolled back is younger than the one in use.
      const left = Math.max(used ?? made, heir?.activated_at ? at.x(sec(heir.activated_at)) : at.nowX);
      return [wait(used ?? made), left - (used ?? made) > 3 && box(used ?? made, left, 'was'), box(Math.min(left, end), end, 'retiring', 'url(#hatch)')];
    }
    case 'rejected': return [box(made, v.retires_at ? at.x(sec(v.retires_at)) : made + 12, 'rejected', 'url(#cross)')];
    default: {
      const end = v.retires_at ? at.x(sec(v.retires_at)) : made + 3;
      return [svg('rect', { class: 'bar retired', x: made, y: y + rowHeight / 2 - 1.5, width: Math.max(3, end - made), height: 3 })];
    }
  }
}

// chart is one secret's part of the line. Where the rows stand apart, on a narrow
// page, each has the labels of its own.
function chart(s, rows, at, height, now, apart) {
  return svg('svg', { width: at.width, height: height + (apart ? 16 : 0), viewBox: `0 0 ${at.width} ${height + (apart ? 16 : 0)}` },
    apart && labels(at, height + 12),
    marksOf(at).map(([x]) => svg('line', { class: 'grid', x1: x, x2: x, y1: 0, y2: height })),
    rows.map((v, i) => bars(v, s, at, rowsTop + i * rowHeight, now)),
    svg('line', { class: 'nowline', x1: at.nowX, x2: at.nowX, y1: 0, y2: height }));
}

const rowsTop = 10;
const narrow = matchMedia('(max-width: 46rem)');

// Timeline keeps one row for each secret, and its buttons, for as long as there is
// the secret: the focus stays where it is while everything else moves.
export class Timeline {
  #rows = new Map();
  #width = 0;
  #drawn = '';

  constructor({ rotate, rollBack }) {
    this.act = { rotate, rollBack };
    this.list = byId('lanes');
    new ResizeObserver(() => { this.#width = 0; this.redraw(); }).observe(this.list);
  }

  #row(s) {
    let row = this.#rows.get(s.name);
    if (row) return row;
    row = {
      state: el('p', { class: 'lane-state' }), chart: el('div', { class: 'chart', 'aria-hidden': 'true' }), versions: el('ul', { class: 'versions', 'aria-label': `Versions of ${s.name}` }),
      steps: el('ol', { class: 'steps', 'aria-label': `Steps of the rotation of ${s.name}` }),
    };
    row.rotate = el('button', { type: 'button', class: 'quiet', 'aria-label': `Rotate ${s.name}…`, on: { click: () => this.act.rotate(s.name) } }, 'Rotate…');
    row.back = el('button', { type: 'button', class: 'quiet', 'aria-label': `Roll back ${s.name}…`, on: { click: () => row.back.getAttribute('aria-disabled') !== 'true' && this.act.rollBack(s.name) } }, 'Roll back…');
    row.name = el('div', { class: 'name' }, el('h3', {}, s.name), row.state);
    row.node = el('li', { class: 'lane', 'data-secret': s.name },
      row.name, row.chart, row.versions,
      el('div', { class: 'lane-actions' }, row.rotate, row.back), row.steps);
    this.#rows.set(s.name, row);
    return row;
  }

  show(status, now) {
    this.status = status;
    this.redraw(now);
  }

  redraw(now = Date.now()) {
    const status = this.status;
    if (!status || byId('line-view').hidden) return;
    const secrets = status.secrets;
    const names = secrets.map((s) => s.name).join('\n');
    if (names !== this.#drawn) {
      this.#drawn = names;
      for (const name of [...this.#rows.keys()]) if (!secrets.some((s) => s.name === name)) this.#rows.delete(name);
      this.list.replaceChildren(...secrets.map((s) => this.#row(s).node));
    }
    const [past, future] = range(secrets, now);
    this.#width ||= this.#rows.get(secrets[0]?.name)?.chart.clientWidth ?? 0;
    if (this.#width < 40) return;
    const at = scale(this.#width, past, future);
    byId('axis').replaceChildren(axis(at));
    for (const s of secrets) this.#draw(s, at, now);
  }

  #draw(s, at, now) {
    const row = this.#rows.get(s.name);
    const { versions, more } = shown(s);
    const told = describe(s, now, (id) => replicaName(this.status.replicas.find((r) => r.id === id) ?? { id }, this.status.replicas));
    say(row.state, told.text);
    attr(row.node, 'data-state', told.state);
    const rows = rowsTop * 2 + Math.max(2, versions.length + (more > 0 ? 1 : 0)) * rowHeight;
    const height = narrow.matches ? rows : Math.max(rows, row.name.firstChild.offsetHeight + row.state.offsetHeight + rowsTop * 2);
    row.chart.replaceChildren(chart(s, versions, at, height, now, narrow.matches));
    replace(row.versions,
      versions.map((v) => el('li', { class: `v ${v.state}` }, id(v.id, 6), el('span', { class: 'v-state' }, v.state), el('span', { class: 'v-more', title: version(v, now) }, version(v, now)),
        marks(v).map((m) => el('span', { class: `tag ${m === 'compromised' ? 'bad' : ''}` }, m)))),
      more > 0 && el('li', { class: 'v more' }, `and ${count(more, 'older one')}`));
    const back = previous(s);
    attr(row.back, 'aria-disabled', back ? null : 'true');
    attr(row.back, 'title', back ? null : 'No earlier version lives.');
    replace(row.steps, underWay(s) ? s.rotation.steps.map((one) => el('li', { title: one.detail ?? null }, step(one.what))) : []);
    row.steps.hidden = !underWay(s);
  }
}

// table is the same for who reads rather than looks.
export function table(status, now) {
  const when = (t) => (t ? stamp(t, now) : '–');
  return status.secrets.flatMap((s) => s.versions.map((v, i) => el('tr', {},
    i === 0 && el('th', { scope: 'rowgroup', rowspan: s.versions.length }, s.name),
    el('td', {}, el('code', { class: 'id' }, v.id)), el('td', {}, v.state, marks(v).map((m) => el('span', { class: 'tag' }, m))),
    el('td', {}, when(v.created_at)), el('td', {}, when(v.activated_at)), el('td', {}, when(v.retires_at)),
    el('td', { class: 'n' }, v.dependents === undefined ? '–' : v.dependents.toLocaleString('en-GB')),
    i === 0 && el('td', { rowspan: s.versions.length }, s.next_rotation_at ? until(s.next_rotation_at, now) : 'when asked'))));
}
