import { session, signIn } from './api.js';

// Another site's link leads here even when somebody is signed in: the browser keeps
// the cookie back then.
session().then((s) => { if (s.signed_in) location.replace('/'); }, () => {});

const form = document.getElementById('form');
form?.addEventListener('submit', async (e) => {
  e.preventDefault();
  const field = document.getElementById('token');
  const problem = document.getElementById('problem');
  problem.textContent = '';
  try {
    await signIn(field.value.trim());
    field.value = '';
    location.replace('/');
  } catch (refused) {
    problem.textContent = [sentence(refused.message), refused.cure].filter(Boolean).join(' ');
    field.setAttribute('aria-invalid', 'true');
    field.select();
  }
});

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
