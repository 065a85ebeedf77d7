"""Run pages in place and store their outputs.  usage: pages.py [NAME ...]

Cells that the tests skip (`#| slow`, `#| gpu`, `#| net`, `#| eval: false`) are not run and keep the outputs they have.
A page that fails is left as it was."""
import re
import subprocess
import sys
import time
from pathlib import Path
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor
from common import bin_dir, cfg, page_env, pages, root

ci = Path(__file__).resolve().parent
# figures say in text what they show, so that `make test` can compare them
with_figures = f"import sys; sys.path.insert(0, {str(ci)!r}); import figures; figures.install(get_ipython()); sys.path.remove({str(ci)!r})"
flags = set(cfg['tst_flags'].split())

class Page(NotebookClient):
    "Runs a notebook, but not its skipped cells."
    skipped = frozenset()
    async def async_execute_cell(self, cell, cell_index, *args, **kwargs):
        if cell.id in self.skipped: return cell
        return await super().async_execute_cell(cell, cell_index, *args, **kwargs)

def skipped(path):
    "Ids of the cells `nbdev_test` would skip, or None where the whole page is not to be run."
    nb = NBProcessor(path, procs=FrontmatterProc, process=True).nb
    if str(getattr(nb, 'frontmatter_', {}).get('skip_exec', '')).lower() == 'true': return None
    found = {c['id']: getattr(c, 'directives_', None) or {} for c in nb.cells if 'id' in c}
    return {i for i, d in found.items() if flags & d.keys() or d.get('eval:', [''])[0].lower() == 'false'}

def plainly(nb):
    "Warnings name the file that gave them; leave out where the checkout lies."
    for o in (o for cell in nb.cells for o in cell.get('outputs', []) if o.output_type == 'stream'):
        o.text = o.text.replace(f'{root}/', '')

def run(path):
    "Run one page; the sentence says how it went, the bool whether it went well."
    name, skip = path.relative_to(root), skipped(path)
    if skip is None: return f'{name}: not run (skip_exec)', True
    nb, start = nbformat.read(path, as_version=4), time.time()
    page = Page(nb, timeout=None, kernel_name='python3', extra_arguments=['--log-level=40', f'--IPKernelApp.exec_lines={with_figures}'],
                resources={'metadata': {'path': str(path.parent)}})
    page.skipped = skip
    try: page.execute(env=page_env())
    except (CellExecutionError, DeadKernelError) as e:
        return re.sub(r'\x1b\[[0-9;]*m', '', str(e)) + f'\n{name}: failed and was left as it was', False
    plainly(nb)
    nbformat.write(nb, path)
    subprocess.run([bin_dir/'nbdev_clean', '--fname', path], check=True, cwd=root)
    return f'{name}: {time.time()-start:.0f} s' + (f', {len(skip)} cells kept as they were' if skip else ''), True

def main(names):
    known = {p.stem: p for p in pages()}
    unknown = [n for n in names if n not in known]
    if unknown: sys.exit(f"no page named {' or '.join(unknown)}; there are: {' '.join(known)}")
    subprocess.run([bin_dir/'nbdev_export'], check=True, cwd=root)   # a page imports the rooms below it from sprec/
    ok = True
    for n in names or known:
        said, well = run(known[n])
        print(said, flush=True)
        ok = ok and well
    sys.exit(not ok)

if __name__ == '__main__': main(sys.argv[1:])
