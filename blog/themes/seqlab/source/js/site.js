/* Search as you type over content.json (titles and tags), and links that also work in a site opened as files. */
'use strict';

(() => {
  const root = new URL('../', document.currentScript.src);
  const openedAsFile = location.protocol === 'file:';
  const limit = 12;

  if (openedAsFile) {
    for (const link of document.querySelectorAll('a[href]')) {
      if (link.protocol === 'file:' && link.pathname.endsWith('/')) link.pathname += 'index.html';
    }
  }

  const input = document.getElementById('search');
  if (!input) return;
  const list = document.getElementById('found');
  if (openedAsFile) { // a browser lets no page read a file
    input.disabled = true;
    input.placeholder = 'Search works in the served site';
    return;
  }

  const fold = (text) => text.normalize('NFKC').toLowerCase();
  let posts = null;
  let chosen = -1;

  async function load() {
    const answer = await fetch(new URL('content.json', root));
    if (!answer.ok) throw new Error(`content.json: ${answer.status}`);
    return (await answer.json()).map((post) => {
      const tags = (post.tags || []).map((tag) => tag.name);
      return { title: post.title || 'Untitled', path: post.path, tags, text: fold([post.title, ...tags].join('\n')) };
    });
  }

  function option(post, index) {
    const item = document.createElement('li');
    const link = document.createElement('a');
    item.id = `found-${index}`;
    item.setAttribute('role', 'option');
    link.href = new URL(post.path, root);
    link.tabIndex = -1;
    link.append(post.title);
    for (const tag of post.tags) {
      const mark = document.createElement('small');
      mark.textContent = tag;
      link.append(' ', mark);
    }
    item.append(link);
    return item;
  }

  function say(text) {
    const item = document.createElement('li');
    item.className = 'none';
    item.textContent = text;
    list.replaceChildren(item);
    show(true);
  }

  function show(visible) {
    list.hidden = !visible;
    input.setAttribute('aria-expanded', String(visible));
    choose(-1);
  }

  function choose(index) {
    const options = list.querySelectorAll('[role=option]');
    options.forEach((item, i) => item.setAttribute('aria-selected', String(i === index)));
    chosen = index;
    if (index >= 0) {
      input.setAttribute('aria-activedescendant', options[index].id);
      options[index].scrollIntoView({ block: 'nearest' });
    } else input.removeAttribute('aria-activedescendant');
  }

  async function search() {
    const words = fold(input.value).split(/\s+/).filter(Boolean);
    if (!words.length) return show(false);
    try {
      posts = posts || await load();
    } catch {
      return say('content.json cannot be read: ./inv blog.check says why');
    }
    if (!input.value.trim()) return show(false); // emptied while the list was on its way
    const found = posts.filter((post) => words.every((word) => post.text.includes(word))).slice(0, limit);
    if (!found.length) return say('Nothing found');
    list.replaceChildren(...found.map(option));
    return show(true);
  }

  function onKey(event) {
    const options = list.querySelectorAll('[role=option]');
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && options.length && !list.hidden) {
      event.preventDefault();
      choose((chosen + step + options.length + (chosen < 0 && step < 0 ? 1 : 0)) % options.length);
    } else if (event.key === 'Enter' && !event.isComposing && options.length) {
      options[Math.max(chosen, 0)].querySelector('a').click();
    } else if (event.key === 'Escape') {
      show(false);
    }
  }

  input.addEventListener('input', search);
  input.addEventListener('focus', search);
  input.addEventListener('keydown', onKey);
  document.addEventListener('click', (event) => {
    if (!event.target.closest('.search')) show(false);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target.closest('input, textarea, [contenteditable]')) return;
    event.preventDefault();
    input.focus();
  });
})();
