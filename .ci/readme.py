"""README.md and its figures from the stored outputs of nbs/index.ipynb; nothing is run.

Cells marked `#| hide` or `#| include: false` are left out, `#| echo: false` shows the output alone, `#| fig-alt:` describes a figure."""
import copy
import posixpath
import re
import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config
from common import cfg, root

nbs = cfg['nbs_path']
figures = f'{nbs}/index_files'
directive = re.compile(r'\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*?)\s*$')
# images before tables before text: the first kind an output has is the one that is shown
order = ['image/svg+xml', 'image/png', 'image/jpeg', 'text/markdown', 'text/html', 'text/latex', 'text/plain']

def directives(source):
    "The leading `#| name: value` lines of a cell as a dict, and the code below them."
    lines, found = source.split('\n'), {}
    while lines and (m := directive.match(lines[0])):
        found[m[1]] = m[2]
        lines.pop(0)
    return found, '\n'.join(lines).strip('\n')

def relink(text):
    "Links are relative to the notebook; make them relative to the README. Code fences stay as they are."
    def move(m):
        target = m[2]
        if re.match(r'[a-z][a-z0-9+.-]*:|[#/]', target, re.I): return m[0]
        return m[1] + posixpath.normpath(posixpath.join(nbs, target)) + m[3]
    parts = re.split(r'(^```.*?^```|`[^`\n]+`)', text, flags=re.S | re.M)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'(\]\()([^)\s]+)([^)]*\))', move, parts[i])
        parts[i] = re.sub(r'''((?:href|src)=["'])([^"']+)(["'])''', move, parts[i])
    return ''.join(parts)

def tidy_html(html):
    "A pandas table without its style sheet, wrapper and borders; GitHub reads it as HTML as long as no line is empty."
    html = re.sub(r'<style.*?</style>', '', html, flags=re.S)
    html = re.sub(r'</?div[^>]*>', '', html)
    html = re.sub(r'<table border="\d+" class="dataframe">', '<table>', html)
    return re.sub(r'\n\s*\n+', '\n', html).strip()

def tidy_cell(cell):
    "One cell as the README shows it, with the text that describes its figures, or None where it is left out."
    cell, alt = copy.deepcopy(cell), ''
    if cell.cell_type == 'markdown': cell.source = relink(cell.source)
    if cell.cell_type != 'code': return (cell, alt) if cell.cell_type == 'markdown' else None
    found, cell.source = directives(cell.source)
    if 'hide' in found or 'default_exp' in found or found.get('include') == 'false': return None
    if found.get('output') == 'false': cell.outputs = []
    if found.get('echo') == 'false' or not cell.source: cell.metadata['transient'] = {'remove_source': True}
    cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr']
    for o in cell.outputs:
        data = o.get('data', {})
        if 'text/html' in data: data['text/html'] = relink(tidy_html(data['text/html']))
        if 'text/markdown' in data: data['text/markdown'] = relink(data['text/markdown'])
    return cell, found.get('fig-alt') or found.get('fig-cap') or 'figure'

def build(base=root):
    "The README's text, and its figures as a dict of path to bytes."
    nb = nbformat.read(base/nbs/'index.ipynb', as_version=4)
    kept = [t for t in map(tidy_cell, nb.cells) if t]
    nb.cells = [c for c, _ in kept]
    nb.metadata['language_info'] = {'name': 'python'}
    exporter = MarkdownExporter(config=Config({'NbConvertBase': {'display_data_priority': order}}))
    text, res = exporter.from_notebook_node(nb, {'unique_key': 'index', 'output_files_dir': figures})
    for i, (_, alt) in enumerate(kept): text = re.sub(rf'!\[\w+\](\({figures}/index_{i}_\d+\.\w+\))', lambda m: f'![{alt}]{m[1]}', text)
    text = re.sub(r'\n{3,}', '\n\n', re.sub(r'^[ \t]+$', '', text, flags=re.M)).strip() + '\n'
    return text, {k: v for k, v in sorted(res.get('outputs', {}).items())}

def dead_links(text):
    "Links of the README that lead to no file."
    links = re.findall(r'\]\(([^)\s]+)|(?:href|src)="([^"]+)"', re.sub(r'^```.*?^```', '', text, flags=re.S | re.M))
    files = [a or b for a, b in links]
    return [f for f in files if not re.match(r'[a-z][a-z0-9+.-]*:|#', f, re.I) and not (root/f.split('#')[0]).exists()]

def main():
    text, images = build()
    folder = root/figures
    for old in folder.glob('*') if folder.exists() else []: old.unlink()
    for path, data in images.items():
        folder.mkdir(exist_ok=True)
        (root/path).write_bytes(data)
    if folder.exists() and not images: folder.rmdir()
    (root/'README.md').write_text(text, encoding='utf-8')
    print(f'README.md written from {nbs}/index.ipynb, {len(images)} figure(s)')

if __name__ == '__main__': main()
