// Times and durations in words.

const units = [[365.25 * 86400, 'y', 'year'], [86400, 'd', 'day'], [3600, 'h', 'hour'], [60, 'min', 'minute'], [1, 's', 'second']];

// span is a duration in seconds, in at most two units: "3 min", "7 h 58 min".
export function span(seconds) {
  let left = Math.max(0, Math.round(seconds));
  if (left < 1) return 'less than 1 s';
  const i = units.findIndex(([size]) => left >= size);
  const [size, name] = units[i];
  const n = Math.floor(left / size);
  left -= n * size;
  const next = units[i + 1];
  const wanted = name !== 'min' && name !== 's' && n < 10;
  const m = next && wanted ? Math.floor(left / next[0]) : 0;
  return m > 0 ? `${n} ${name} ${m} ${next[1]}` : `${n} ${name}`;
}

// short is a duration in its largest unit.
export function short(seconds) {
  const [size, name] = units.find(([size]) => seconds >= size) ?? units.at(-1);
  return `${Math.round(seconds / size)} ${name}`;
}

export const seconds = (from, to = Date.now()) => (to - new Date(from).getTime()) / 1000;

export function ago(when, now = Date.now()) {
  const s = seconds(when, now);
  return s < 1 ? 'just now' : `${span(s)} ago`;
}

export function until(when, now = Date.now()) {
  const s = -seconds(when, now);
  return s < 1 ? 'now' : `in ${span(s)}`;
}

const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

export const clock = (when) => clockFormat.format(new Date(when));

// stamp is a moment: the time, and the day unless that is today.
export function stamp(when, now = Date.now()) {
  const day = dayFormat.format(new Date(when));
  return day === dayFormat.format(now) ? clock(when) : `${day}, ${clock(when)}`;
}

// took is a duration in milliseconds.
export function took(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : span(ms / 1000);
}

export const count = (n, one, many = one + 's') => `${n.toLocaleString('en-GB')} ${n === 1 ? one : many}`;

// all joins names: "a, b and 3 more".
export function all(names, most = 3) {
  if (names.length <= most + 1) return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
  return `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}
