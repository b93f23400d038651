// Light, dark, or as the system has it. Kept in this browser.

const key = 'keyway-appearance';

export function theme(fieldset, changed) {
  let kept = 'auto';
  try { kept = localStorage.getItem(key) ?? 'auto'; } catch { /* not allowed: auto */ }
  const apply = (value) => {
    if (value === 'light' || value === 'dark') document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    changed();
  };
  for (const input of fieldset.querySelectorAll('input')) {
    input.checked = input.value === kept;
    input.addEventListener('change', () => {
      try { localStorage.setItem(key, input.value); } catch { /* for this time only */ }
      apply(input.value);
    });
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
  apply(kept);
}

// colour resolves one of the style sheet's colours, for a canvas.
export function colour(name) {
  const probe = document.createElement('i');
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
