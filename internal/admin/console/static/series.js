// The curve of requests, with each rotation marked on it. The numbers are those of
// this replica, second by second.
import { byId, el, replace, say } from './dom.js';
import { colour } from './theme.js';
import { all, clock, count, took } from './time.js';

const longest = 15 * 60; // seconds that are shown
const least = 2 * 60; // also when the gateway is younger

export class Series {
  #points = new Map(); // by second
  #marks = new Map(); // by secret and moment
  #plots = [];
  #hover = null;

  constructor() {
    new ResizeObserver(() => this.#size()).observe(byId('curves'));
    this.restyle();
  }

  add(points) {
    for (const p of points) this.#points.set(Math.floor(new Date(p.at) / 1000), p);
    const oldest = Date.now() / 1000 - longest - 2;
    // In order: what was before we came may be told after what is now.
    this.#points = new Map([...this.#points].filter(([t]) => t >= oldest).sort((a, b) => a[0] - b[0]));
  }

  // mark notes that a secret has another version in use since then.
  mark(secret, when) {
    if (!when) return;
    this.#marks.set(`${secret} ${Math.floor(new Date(when) / 1000)}`, { secret, at: new Date(when) / 1000 });
  }

  // clusters are the marks, with those that are closer than so many seconds as one.
  #clusters(apart) {
    const oldest = Date.now() / 1000 - longest;
    const marks = [...this.#marks.values()].filter((m) => m.at > oldest).sort((a, b) => a.at - b.at);
    const found = [];
    for (const m of marks) {
      const last = found.at(-1);
      if (last && m.at - last.to < apart) {
        last.to = m.at;
        if (!last.secrets.includes(m.secret)) last.secrets.push(m.secret);
      } else found.push({ at: m.at, to: m.at, secrets: [m.secret] });
    }
    return found;
  }

  get empty() { return this.#points.size === 0; }

  data() {
    const end = Math.floor(Date.now() / 1000) - 1, begin = Math.max(end - longest, Math.min(end - least, this.#points.keys().next().value ?? end));
    const xs = [], good = [], refused = [], failed = [], p99 = [];
    for (let t = begin; t <= end; t++) {
      const p = this.#points.get(t);
      xs.push(t);
      good.push(p ? p.good : null);
      refused.push(p ? p.refused : null);
      failed.push(p ? p.server_errors : null);
      p99.push(p && p.p99_ms > 0 ? p.p99_ms : null);
    }
    // Nobody is no height: there is a line only where somebody was refused.
    const some = (all) => all.map((n, i) => (n || all[i - 1] || all[i + 1] ? n : null));
    return { xs, good, refused: some(refused), failed: some(failed), p99 };
  }

  // restyle builds the plots anew, in the colours of now.
  restyle() {
    for (const p of this.#plots) p.destroy();
    this.#plots = [];
    if (typeof uPlot === 'undefined') return;
    const c = Object.fromEntries(['accent', 'bad', 'warn', 'soft', 'rule', 'ink', 'paper'].map((n) => [n, colour(n)]));
    const fade = (rgb, a) => rgb.replace('rgb(', 'rgba(').replace(')', `, ${a})`);
    const font = '12px system-ui, sans-serif';
    const axis = (more) => ({ stroke: c.soft, font, grid: { stroke: c.rule, width: 1 }, ticks: { show: false }, ...more });
    const make = (node, height, series, top, named) => new uPlot({
      width: Math.max(200, node.clientWidth), height, legend: { show: false }, padding: [named ? 22 : 8, 12, 0, 0],
      cursor: { sync: { key: 'keyway' }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, min, max) => [0, Math.max(top, (max ?? 0) * 1.15)] } },
      axes: [axis({ size: named ? 8 : 30, values: named ? () => [] : (_, splits) => splits.map((t) => clock(t * 1000).slice(0, (splits[1] ?? t) - splits[0] < 60 ? 8 : 5)) }), axis({ size: 48 })],
      series: [{}, ...series], hooks: { draw: [(u) => this.#drawMarks(u, c, named, font)], setCursor: [(u) => this.#point(u.cursor.idx)] },
    }, [[], ...series.map(() => [])], node);
    this.#plots = [
      make(byId('plot-rate'), 210, [
        { stroke: c.accent, width: 2, fill: fade(c.accent, 0.12), spanGaps: false, points: { show: false } },
        { stroke: c.bad, width: 2, fill: fade(c.bad, 0.25), points: { show: false } },
        { stroke: c.warn, width: 2, dash: [5, 3], points: { show: false } },
      ], 10, true),
      make(byId('plot-p99'), 110, [{ stroke: c.ink, width: 1.5, points: { show: false } }], 5, false),
    ];
    this.draw();
  }

  #drawMarks(u, c, named, font) {
    const { ctx, bbox } = u, r = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = c.ink;
    ctx.fillStyle = c.ink;
    ctx.lineWidth = r;
    ctx.font = font.replace('12px', `${11 * r}px`);
    let free = -Infinity;
    for (const one of this.#clusters((u.scales.x.max - u.scales.x.min) / Math.max(1, bbox.width / r) * 8)) {
      const x = Math.round(u.valToPos(one.at, 'x', true));
      ctx.globalAlpha = 0.75;
      ctx.setLineDash([3 * r, 3 * r]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top - (named ? 4 * r : 0));
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (!named) continue;
      const text = one.secrets.length === 1 ? one.secrets[0] : `${one.secrets.length} secrets`;
      const wide = ctx.measureText(text).width;
      const left = Math.min(Math.max(x - wide / 2, bbox.left), bbox.left + bbox.width - wide);
      if (left < free) continue;
      ctx.globalAlpha = 1;
      ctx.fillText(text, left, bbox.top - 8 * r);
      free = left + wide + 8 * r;
    }
    ctx.restore();
  }

  #point(i) {
    const at = i === null || i === undefined ? null : this.shown?.xs[i] ?? null;
    if (at !== this.#hover) {
      this.#hover = at;
      this.figures();
    }
  }

  #size() {
    for (const p of this.#plots) {
      const width = p.root.parentNode.clientWidth;
      if (width > 50 && width !== p.width) p.setSize({ width, height: p.height });
    }
  }

  draw() {
    if (this.#plots.length === 0) return;
    const d = this.shown = this.data();
    this.#plots[0].setData([d.xs, d.good, d.refused, d.failed]);
    this.#plots[1].setData([d.xs, d.p99]);
    this.figures();
  }

  figures() {
    const p = this.#hover ? this.#points.get(this.#hover) : [...this.#points.values()].at(-1);
    say(byId('now-good'), p ? p.good.toLocaleString('en-GB') : '–');
    say(byId('now-refused'), p ? p.refused.toLocaleString('en-GB') : '–');
    say(byId('now-failed'), p ? p.server_errors.toLocaleString('en-GB') : '–');
    say(byId('now-p99'), p && p.p99_ms ? took2(p.p99_ms) : '–');
    for (const id of ['now-refused', 'now-failed']) byId(id).parentNode.dataset.some = String(Boolean(p && byId(id).textContent !== '0'));
    say(byId('verdict'), this.verdict());
  }

  // verdict says in a sentence what the curve shows.
  verdict() {
    const last = this.#clusters(30).at(-1);
    const since = last ? Math.floor(last.at) : 0;
    let n = 0, refused = 0, failed = 0;
    for (const [t, p] of this.#points) {
      if (t < since) continue;
      n += p.good + p.client_errors + p.server_errors;
      refused += p.refused;
      failed += p.server_errors;
    }
    const when = last ? `Since ${all(last.secrets, 2)} turned at ${clock(last.at * 1000)}` : 'In the last 15 minutes';
    if (n === 0) return `${when}: no requests.`;
    const ill = [refused && `${refused.toLocaleString('en-GB')} refused`, failed && `${failed.toLocaleString('en-GB')} failed`].filter(Boolean);
    return `${when}: ${count(n, 'request')}, ${ill.length ? ill.join(', ') : 'none refused, none failed'}.`;
  }

  // minutes are the rows of the table, newest first.
  minutes() {
    const rows = new Map();
    for (const [t, p] of this.#points) {
      const m = t - t % 60, row = rows.get(m) ?? { good: 0, refused: 0, failed: 0, p99: 0 };
      rows.set(m, { good: row.good + p.good, refused: row.refused + p.refused, failed: row.failed + p.server_errors, p99: Math.max(row.p99, p.p99_ms) });
    }
    const turned = this.#clusters(0);
    return [...rows].sort((a, b) => b[0] - a[0]).map(([m, row]) => el('tr', {},
      el('th', { scope: 'row' }, clock(m * 1000).slice(0, 5)), ...[row.good, row.refused, row.failed].map((n) => el('td', { class: 'n' }, n.toLocaleString('en-GB'))),
      el('td', { class: 'n' }, row.p99 ? took2(row.p99) : '–'), el('td', {}, all([...new Set(turned.filter((c) => c.at >= m && c.at < m + 60).flatMap((c) => c.secrets))]))));
  }

  table() { replace(byId('minutes'), this.minutes()); }
}

const took2 = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : took(ms));
