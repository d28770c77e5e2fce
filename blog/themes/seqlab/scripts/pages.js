/* A front page for a site without posts, which hexo's own generators do not make, a content.json that names no host,
   and helpers of the layouts. */
'use strict';

const { escapeHTML, stripHTML, truncate, unescapeHTML } = require('hexo-util');

hexo.extend.generator.register('empty', (locals) => {
  if (locals.posts.length > 0) return [];
  return [{ path: 'index.html', layout: ['index'], data: { posts: locals.posts, __index: true } }];
});

/* The plugin gives each tag its absolute address, with the host of `url:`; search needs the names alone. */
const contents = hexo.extend.generator.get('json-content');
if (contents) {
  hexo.extend.generator.register('json-content', async function namesOnly(locals) {
    const made = await contents.call(this, locals);
    const data = JSON.stringify(JSON.parse(made.data), (key, value) => (key === 'permalink' ? undefined : value));
    return { ...made, data };
  });
}

/** Each rendered formula, which is in the page as MathML and again as spans, as the TeX it was made from. */
function withTex(html) {
  let rest = html;
  for (let start; (start = rest.indexOf('<span class="katex">')) >= 0;) {
    let end = start;
    let depth = 0;
    const spans = /<span\b|<\/span>/g;
    spans.lastIndex = start;
    do {
      const span = spans.exec(rest);
      if (!span) return rest;
      depth += span[0] === '</span>' ? -1 : 1;
      end = spans.lastIndex;
    } while (depth > 0);
    const [, tex = ''] = rest.slice(start, end).match(/<annotation[^>]*>([^<]*)</) || [];
    rest = rest.slice(0, start) + tex + rest.slice(end);
  }
  return rest;
}

/** The words of a piece of HTML on one line, cut at `length`; not escaped. */
hexo.extend.helper.register('words', (html, length) => {
  const text = unescapeHTML(stripHTML(withTex(html || ''))).replace(/\s+/g, ' ').trim();
  return truncate(text, { length, omission: '…' });
});

/** A title as HTML in which a word like BiLSTM-CRF is not broken at its hyphen. */
hexo.extend.helper.register('whole_words', (title) => String(title).split(/(\s+)/).map((word) => (
  word.length <= 24 && /[^-]-[^-]/.test(word) ? `<span class="whole">${escapeHTML(word)}</span>` : escapeHTML(word)
)).join(''));

hexo.extend.helper.register('has_maths', (html) => (html || '').includes('class="katex'));
