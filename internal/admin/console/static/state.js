// What a status means, in words. Pure: no document here.
import { ago, all, count, span, until } from './time.js';

export const underWay = (s) => Boolean(s.rotation && s.rotation.outcome === '');
export const live = (s) => s.versions.filter((v) => ['active', 'pending', 'retiring'].includes(v.state));
const ended = { rolled_back: 'went back', rejected: 'was rejected', needs_operator: 'needs you', failed: 'failed' };

// headline is the one sentence that a person reads first: its state (rest, turn,
// look, wait), and what the sentence leaves out.
export function headline(status, trouble, now) {
  if (!status) return { state: 'wait', title: trouble ? 'Nothing is known yet' : 'Asking the gateway…', lead: trouble };
  const secrets = status.secrets, n = secrets.length;
  const replicas = status.replicas.filter((r) => r.live);
  const turning = secrets.filter(underWay);
  const blocked = turning.filter((s) => s.blocked?.length);
  const wants = secrets.filter((s) => s.operator);
  const ill = secrets.filter((s) => s.trouble);
  const behind = replicas.filter((r) => r.lacks?.length);
  const name = (r) => replicaName(r, status.replicas);
  const lead = leadOf(status, now);
  if (trouble) return { state: 'look', title: 'The gateway can’t say how it is now', lead: trouble };
  if (ill.length) return { state: 'look', title: `${all(ill.map((s) => s.name))}: trouble with the source`, lead };
  if (blocked.length) {
    const who = [...new Set(blocked.flatMap((s) => s.blocked))].map((id) => name(status.replicas.find((r) => r.id === id) ?? { id }));
    return { state: 'look', title: `${all(blocked.map((s) => s.name))} ${blocked.length === 1 ? 'waits' : 'wait'} for ${all(who)}`, lead };
  }
  if (turning.length) return { state: 'turn', title: `${turning.length} of ${count(n, 'secret')} ${turning.length === 1 ? 'is' : 'are'} turning`, lead };
  if (behind.length) return { state: 'look', title: `${all(behind.map(name))} ${behind.length === 1 ? 'lags' : 'lag'} behind the fleet`, lead };
  if (wants.length) return { state: 'look', title: `${all(wants.map((s) => s.name))} ${wants.length === 1 ? 'wants' : 'want'} a person`, lead };
  const agree = replicas.length === 1 ? 'one replica' : `${replicas.length} replicas agree`;
  return { state: 'rest', title: `${count(n, 'secret')}, all at rest; ${agree}`, lead };
}

function leadOf(status, now) {
  const parts = [];
  const old = status.secrets.flatMap((s) => s.versions.filter((v) => v.state === 'retiring'));
  const depend = old.reduce((sum, v) => sum + (v.dependents ?? 0), 0);
  if (old.length) parts.push(`${count(old.length, 'old version')} still accepted${depend ? `; ${count(depend, 'session or token still depends', 'sessions or tokens still depend')} on ${old.length === 1 ? 'it' : 'them'}` : ''}.`);
  const next = status.secrets.filter((s) => s.next_rotation_at).sort((a, b) => new Date(a.next_rotation_at) - new Date(b.next_rotation_at))[0];
  parts.push(next ? `Next by itself: ${next.name}, ${until(next.next_rotation_at, now)}.` : 'Nothing turns by itself.');
  return parts.join(' ');
}

// replicaName is its host, with a part of its id where two have the same host.
export function replicaName(r, replicas) {
  const short = r.id.slice(0, 6);
  if (!r.host) return short;
  return replicas.filter((o) => o.host === r.host).length > 1 ? `${r.host} (${short})` : r.host;
}

// describe is a secret's state, and how much it matters: rest, turn, look.
export function describe(s, now, nameOf) {
  if (s.trouble) return { state: 'look', text: s.trouble };
  if (underWay(s)) {
    const done = s.rotation.steps.at(-1)?.what;
    const waits = s.waiting ? `waits ${/^for /.test(s.waiting) ? '' : 'for: '}${s.waiting}` : done ? `${step(done)}, going on` : 'beginning';
    const held = s.blocked?.length ? `, held up by ${all(s.blocked.map(nameOf))}` : '';
    return { state: s.blocked?.length ? 'look' : 'turn', text: waits + held };
  }
  if (s.operator) return { state: 'look', text: s.operator };
  const last = s.rotation;
  if (last && ended[last.outcome]) return { state: 'look', text: `the last rotation ${ended[last.outcome]} ${last.ended_at ? ago(last.ended_at, now) : ''}` };
  const turns = s.next_rotation_at ? `turns ${until(s.next_rotation_at, now)}` : 'turns when asked';
  return { state: 'rest', text: turns };
}

export const step = (what) => what.replaceAll('_', ' ');

// version is what there is to say of one, beside its state.
export function version(v, now) {
  const since = v.activated_at ?? v.created_at;
  switch (v.state) {
    case 'pending': return v.created_at ? `for ${span((now - new Date(v.created_at)) / 1000)}` : '';
    case 'active': return since ? `for ${span((now - new Date(since)) / 1000)}` : '';
    case 'retiring': return [v.retires_at && `${span((new Date(v.retires_at) - now) / 1000)} left`, v.dependents !== undefined && v.dependents ? `${count(v.dependents, 'depends', 'depend')} on it` : 'nothing needs it'].filter(Boolean).join(', ');
    default: return v.retires_at ? ago(v.retires_at, now) : '';
  }
}

export const marks = (v) => [v.compromised && 'compromised', v.withdrawn && 'withdrawn', v.handed_in && 'handed in'].filter(Boolean);

// previous is the version that a roll back would bring back, or why there is none.
export function previous(s) {
  const pending = s.versions.find((v) => v.state === 'pending');
  if (pending) return { gives: 'up', from: pending, to: s.versions.find((v) => v.state === 'active') };
  const retiring = s.versions.find((v) => v.state === 'retiring' && !v.compromised && !v.withdrawn);
  return retiring ? { gives: 'back', from: s.versions.find((v) => v.state === 'active'), to: retiring } : null;
}
