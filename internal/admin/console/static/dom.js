// The document is only ever written to by these: text is text, never markup.

const svgSpace = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(3).filter((c) => c !== undefined && c !== null && c !== false && c !== ''));
  return node;
}

// el makes an HTML element; strings among the children become text.
export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// svg makes an SVG element.
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(svgSpace, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

// say sets a node's text, and leaves it alone when it is the same: what a person
// has selected stays so, and screen readers are not told twice.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// attr is the same for an attribute.
export function attr(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

// id shows an identifier short, with the whole of it at hand.
export function id(text, chars = 8) {
  if (!text) return '';
  return el('code', { class: 'id', title: text }, shorten(text, chars));
}

export const shorten = (text, chars = 8) => (text.length > chars + 1 ? text.slice(0, chars) + '…' : text);

// replace swaps all children, unless they would look the same: then the focus and
// the place where somebody has scrolled to stay.
export function replace(node, ...children) {
  const next = children.flat(3).filter(Boolean);
  const before = node._looks;
  const looks = next.map((c) => (c.outerHTML ?? String(c))).join('');
  if (before === looks) return;
  node._looks = looks;
  const way = wayTo(node, document.activeElement);
  node.replaceChildren(...next);
  if (way) way.reduce((n, i) => n?.children[i], node)?.focus({ preventScroll: true });
}

// wayTo is where below a node another is, by its places among the children.
function wayTo(node, below) {
  if (!below || below === node || !node.contains(below)) return null;
  const way = [];
  for (let n = below; n !== node; n = n.parentNode) way.unshift([...n.parentNode.children].indexOf(n));
  return way;
}
