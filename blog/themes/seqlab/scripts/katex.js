/* Serves KaTeX's style sheet and fonts from the very version that renders the formulas: no copy, no third party. */
'use strict';

const fs = require('fs');
const path = require('path');

/** The dist folder of the katex that the markdown plugin requires, or null where the site has no maths plugin. */
function katexFolder() {
  try {
    const plugin = require.resolve('@traptitech/markdown-it-katex', { paths: [hexo.base_dir] });
    return path.dirname(require.resolve('katex', { paths: [path.dirname(plugin)] }));
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    hexo.log.warn('@traptitech/markdown-it-katex is not installed: formulas stay as they are written');
    return null;
  }
}

/** The style sheet with its woff2 fonts only; every browser that knows CSS variables knows woff2. */
function styleSheet(folder) {
  const css = fs.readFileSync(path.join(folder, 'katex.min.css'), 'utf8');
  return css.replace(/,url\([^)]+\.(?:woff|ttf)\) format\("[^"]+"\)/g, '');
}

hexo.extend.generator.register('katex', () => {
  const folder = katexFolder();
  if (folder === null) return [];
  const fonts = fs.readdirSync(path.join(folder, 'fonts')).filter((name) => name.endsWith('.woff2'));
  return [
    { path: 'katex/katex.css', data: () => styleSheet(folder) },
    ...fonts.map((name) => ({
      path: `katex/fonts/${name}`,
      data: () => fs.createReadStream(path.join(folder, 'fonts', name)),
    })),
  ];
});
