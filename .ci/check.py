"""Every check of `make test`, on a copy: the working tree is only read, and git is not asked.

usage: check.py [--workers 2] [--flags "slow gpu net"]"""
import argparse
import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
import claims
import outputs
import readme
from common import bin_dir, cfg, page_env, pages, root

lib, nbs = cfg['lib_path'], cfg['nbs_path']
notebook_only = {'nbdev', 'fastcore', 'execnb', 'ghapi', 'hypothesis', 'IPython', 'ipywidgets', 'jupyterlab', 'nbconvert', 'nbclient', 'nbformat'}
results = {}

def report(name, problems, note=''):
    "One line for a check: what it is, and for each problem what to do."
    results[name] = not problems
    print(f"{'FAIL' if problems else 'ok':5} {name}{'' if problems or not note else f': {note}'}", flush=True)
    for p in problems: print(f'      {p}', flush=True)

def copy_tree(dest):
    "What the checks need: the notebooks, the library and the files at the top."
    junk = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', 'runs', '.last_checked', '*.partial')
    for folder in (nbs, lib, '.ci'): shutil.copytree(root/folder, dest/folder, ignore=junk)
    for f in root.iterdir():
        if f.is_file(): shutil.copy2(f, dest)
    return dest

def files(folder, pattern='*'):
    "Path within `folder` to content."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob(pattern))
            if p.is_file() and '__pycache__' not in p.parts}

def first_change(old, new):
    "The first line that differs, as a hint."
    lines = difflib.unified_diff(old.decode().splitlines(), new.decode().splitlines(), n=0, lineterm='')
    return ' | '.join(l.strip()[:100] for l in list(lines)[3:5])

def tool(name, cwd):
    "Run one of nbdev's commands on a copy."
    done = subprocess.run([bin_dir/name], cwd=cwd, env=page_env(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return [f'{name} ended with code {done.returncode}: {done.stderr.strip()[-500:]}'] if done.returncode else []

def check_readable(src):
    "Every notebook parses; the other checks need that."
    bad = []
    for p in sorted((src/nbs).rglob('*.ipynb')):
        try: json.loads(p.read_text(encoding='utf-8'))['cells']
        except (ValueError, KeyError, TypeError) as e:
            bad.append(f'{p.relative_to(src)} is no notebook ({type(e).__name__}: {e}); was a merge left half done?')
    report('notebooks readable', bad)
    return not bad

def check_clean(src, work):
    "`nbdev_clean` would change nothing."
    bad, old = tool('nbdev_clean', work), files(src/nbs, '*.ipynb')
    new = files(work/nbs, '*.ipynb')
    bad += [f'{nbs}/{f} holds execution counts or metadata; run `make clean`' for f in old if old[f] != new[f]]
    report('notebooks clean', bad, f'{len(old)} notebooks')

def stored_problems(path):
    "What a stored output should not hold: an error, a progress bar, the name of somebody's folder."
    places = ['/home/', '/Users/', '/root/', '/tmp/', '/var/folders/', str(root), str(Path.home())]
    if os.environ.get('SPREC_DATA'): places.append(os.path.abspath(os.environ['SPREC_DATA']))
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        for o in cell.get('outputs', []):
            text = ''.join(''.join(v) for k, v in [('text', o.get('text', '')), *o.get('data', {}).items()] if k.startswith('text'))
            place = next((p for p in places if len(p) > 1 and p in text), None)
            if o['output_type'] == 'error': yield cell, f"the error {o['ename']}"
            elif place: yield cell, f'a path of one machine ({place}...)'
            elif re.search(r'\d%\||\d(?:it/s|s/it)\b', text): yield cell, 'a progress bar'

def check_outputs(src):
    "Stored outputs are the same on every machine."
    bad = [f"{p.relative_to(src)}, cell {c.get('id')}, stores {what}; mend the cell, then `make pages PAGES={p.stem}`"
           for p in pages(src) for c, what in stored_problems(p)]
    report('stored outputs plain', bad)

def check_formulas(src):
    "No formula has a backslash twice before a name, which breaks the line instead."
    text = lambda c: c['source'] if isinstance(c['source'], str) else ''.join(c['source'])
    bad = [f"{p.relative_to(src)}, cell {c.get('id')}: {m[0]}" for p in pages(src) for c in json.loads(p.read_text(encoding='utf-8'))['cells']
           if c['cell_type'] == 'markdown' for m in re.finditer(r'\$[^$\n]*?\\\\[a-zA-Z]{2,}[^$\n]*\$', text(c))]
    report('formulas', bad)

def public_names(text):
    "The names of a module's __all__."
    found = next((n.value for n in ast.parse(text).body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__'), None)
    return ast.literal_eval(found) if found else []

def check_one_meaning(src):
    "No public name stands in two modules."
    where = {}
    for f, text in files(src/lib, '*.py').items():
        for name in public_names(text.decode()): where.setdefault(name, []).append(f'{lib}/{f}')
    report('names mean one thing', [f"{n} is in {' and '.join(fs)}; rename all but one" for n, fs in sorted(where.items()) if len(fs) > 1])

def page_flaws(path, src):
    "What is wrong with a page that nobody sees by running it."
    nb = json.loads(path.read_text(encoding='utf-8'))
    text = lambda c: c['source'] if isinstance(c['source'], str) else ''.join(c['source'])
    if (size := path.stat().st_size) > 400_000: yield f'is {size/1000:.0f} KB; 400 is the most, so show smaller figures or shorter tables'
    said = re.search(r'(?m)^> (.+)$', text(nb['cells'][0]))
    if said and len(said[1].split()) > 20: yield f'has a subtitle of {len(said[1].split())} words; say it in 20'
    for c in nb['cells']:
        drawn = any('image/png' in o.get('data', {}) for o in c.get('outputs', []))
        if drawn and '#| fig-alt:' not in text(c): yield f"cell {c.get('id')} shows a figure without alternative text; begin it with `#| fig-alt: ...`"
        links = re.findall(r'\]\(([\w./-]+\.(?:ipynb|jsonl|csv|md))(?:#[^)]*)?\)', text(c)) if c['cell_type'] == 'markdown' else []
        yield from (f"cell {c.get('id')} points to {l}, which is not there" for l in links if not any((d/l).exists() for d in (path.parent, (root/path.relative_to(src)).parent)))
    seen = [c for c in nb['cells'] if text(c).strip() and not text(c).startswith('#| hide')]
    if seen and seen[-1]['cell_type'] == 'code':
        lines = [l for l in text(seen[-1]).splitlines() if l.strip() and not l.startswith(('#', ' ', ')'))]
        if lines and all(l.startswith('test_fail') for l in lines): yield 'ends with a refusal; end with what it can do'

def check_form(src):
    "Pages are small, subtitles short, figures have alternative texts, links lead somewhere, and no page ends with a refusal."
    report('form of pages', [f'{p.relative_to(src)} {what}' for p in pages(src) for what in page_flaws(p, src)])

def check_library(src, work):
    "`nbdev_export` into an emptied library gives the library."
    for f in (work/lib).rglob('*.py'):
        if f.name != '__init__.py': f.unlink()
    bad, old = tool('nbdev_export', work), files(src/lib, '*.py')
    new = files(work/lib, '*.py')
    for f in sorted(old.keys() | new.keys()):
        made = re.search(r'File to edit: (?:\.\./)*(\S+)\.\n', (new.get(f) or old.get(f)).decode())
        page = made[1] if made else 'settings.ini and the notebooks'
        if f not in new: bad.append(f'{lib}/{f} comes from no notebook; remove it')
        elif f not in old: bad.append(f'{lib}/{f} is missing; write it from {page} with `make export`')
        elif old[f] != new[f]:
            bad.append(f'{lib}/{f} differs from an export of {page}; change things there, then `make export` ({first_change(old[f], new[f])})')
    report('library in step with the notebooks', bad, f'{len(old)} files')

def imported(source):
    "(level, module) for every import at the top of a module or anywhere below; of `from . import x`, x may be a module."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): yield from ((0, a.name) for a in node.names)
        if not isinstance(node, ast.ImportFrom): continue
        yield node.level, node.module or ''
        if node.module in (None, lib) or node.level: yield from ((node.level, '.'.join(filter(None, [node.module, a.name]))) for a in node.names)

def check_imports(src):
    "A room imports only rooms with lower numbers, and the library needs no notebook tools."
    texts = {f: t.decode() for f, t in files(src/lib, '*.py').items() if not Path(f).name.startswith('_')}
    page_of = {f[:-3].replace('/', '.'): m[1] for f, t in texts.items() if (m := re.search(r'File to edit: \S*?(\w+)\.ipynb', t))}
    bad = []
    for f, text in texts.items():
        me = f[:-3].replace('/', '.')
        for level, mod in imported(text):
            if not level and mod.split('.')[0] in notebook_only: bad.append(f'{lib}/{f} imports {mod}, which only notebooks have')
            parts = me.split('.')[:-level] if level else []
            other = '.'.join([*parts, mod]) if level else mod.removeprefix(lib + '.')
            if (level or mod.startswith(lib + '.')) and page_of.get(other, '') >= page_of.get(me, '~'):
                bad.append(f'{page_of[me]} imports {page_of[other]}, which comes later')
    report('imports go to lower rooms', bad)

def check_readme(src):
    "`make readme` would change nothing, and every link of the README leads somewhere."
    text, images = readme.build(src)
    there = files(src/readme.figures) if (src/readme.figures).exists() else {}
    old = (src/'README.md').read_bytes() if (src/'README.md').exists() else b''
    bad = []
    if old != text.encode():
        bad.append(f'README.md is not what {nbs}/index.ipynb gives; run `make readme` ({first_change(old, text.encode())})')
    if {f'{readme.figures}/{k}': v for k, v in there.items()} != images:
        bad.append(f'the figures in {readme.figures}/ are not those of the notebook; run `make readme`')
    bad += [f'README.md links to {link}, which is not there; mend {nbs}/index.ipynb, then `make readme`' for link in readme.dead_links(text)]
    report('README in step with index', bad)

def check_claims(src):
    "Every sentence with a number in the README and the pages of results is among the claims, and what they name shows its number."
    bad = [*claims.problems(src/nbs), *claims.settled(src/nbs)]
    report('sentences with numbers', bad, f"{len((src/nbs/claims.where).read_text(encoding='utf-8').splitlines())} of them")

def run_pages(src, out, workers, flags, threads=0, only=(), **env):
    "Run the pages of a copy, say when each is done, and return what each left behind: seconds, error, outputs."
    out.mkdir(parents=True, exist_ok=True)
    todo = [p for p in pages(src) if not only or p.stem in only]
    cmd = [bin_dir/'python', Path(__file__).parent/'runner.py', out, *todo, '--workers', str(workers), '--flags', flags, '--threads', str(threads)]
    run = subprocess.Popen(cmd, cwd=src, env=page_env(**dict(PYTHONPATH=str(src)) | env), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    for line in run.stdout: print(f"      {line.replace(f'{src}/', '').rstrip()[:500]}", flush=True)
    code = run.wait()
    lost = dict(secs=0, error=f'the runner ended with code {code} before this page was done', outputs={})
    return {p: json.loads(f.read_text(encoding='utf-8')) if (f := out/f'{p.stem}.json').exists() else lost for p in todo}

def page_problems(path, done):
    "What is wrong with a page that was run: its error, or what its stored outputs say and the run does not."
    if done['error']: return ['a cell failed; `make lab` opens the page', *done['error'].strip().splitlines()[-25:]]
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [f'cell {i} {what}; if the run is right, `make pages PAGES={path.stem}`' for i, what in outputs.compare(cells, done['outputs'])]

def check_pages(src, workers, flags):
    "Every page runs as under `nbdev_test`, shows what it stores, and leaves nothing behind."
    before = files(src/nbs)
    ran = run_pages(src, src.parent/'ran', workers, flags)
    for p, done in ran.items(): report(f'page {p.relative_to(src)}', page_problems(p, done), f"{done['secs']:.0f} s")
    after = files(src/nbs)
    left = sorted(f for f in before.keys() | after.keys() if after.get(f) != before.get(f))
    report('pages leave nothing behind', [f'{nbs}/{f} was written, changed or removed by a page; use a temporary folder' for f in left])
    slow = sorted(ran, key=lambda p: -ran[p]['secs'])[:5]
    print('slowest pages: ' + ', '.join(f"{p.stem} {ran[p]['secs']:.0f} s" for p in slow), flush=True)

def linted(cmd, src):
    "The lines a checker prints where it finds something."
    done = subprocess.run([bin_dir/'python', '-m', *cmd], cwd=src, env=page_env(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip().splitlines()
    return said or [f'{cmd[0]} ended with code {done.returncode}'] if done.returncode else []

def check_names(src):
    "pyflakes finds no name in the library that is undefined or imported for nothing."
    report('names', [f'{l}; mend it in the notebook' for l in linted(['pyflakes', lib], src)])

# Annotations are there for the reader and the table of parameters: None is a usual default, and `ndarray` stands where a list is taken and made
# an array. So what mypy says of arguments and assignments is left out. Left are calls with keywords that do not exist or without ones that must
# be given, attributes and names that are nowhere, and annotations that are no types. Other libraries are not read: that would take a minute.
off = ['arg-type', 'assignment', 'var-annotated', 'union-attr', 'index', 'operator', 'call-overload', 'return', 'misc']
mypy = ['mypy', '--ignore-missing-imports', '--follow-imports=skip', '--no-strict-optional', '--no-error-summary', '--hide-error-context',
        f'--cache-dir={os.devnull}', '--config-file=', *(f'--disable-error-code={c}' for c in off)]
unseen = {   # what mypy says of right code, and what it does not see
    r'Too many arguments': 'how long a list behind a star is',
    r'"\w+" has no attribute "_row"': 'what __post_init__ sets',
    r'"StageTrainer" has no attribute "model"': 'what the base class, of a library that is not read, sets',
    r'"(None|object)" has no attribute': 'what a gathering fills in, and what a mixed list holds',
    r'Unexpected keyword argument "[hw]space"': 'which of matplotlib\'s layout engines it is',
}

def check_types(src):
    "mypy finds no call, attribute or annotation in the library that cannot work."
    said = linted([*mypy, f"--python-version={cfg['min_python']}", lib], src)
    bad = [l for l in said if ': note:' not in l and not any(re.search(u, l) for u in unseen)]
    report('types', [f'{l}; mend it in the notebook' for l in bad])

def main():
    parser = argparse.ArgumentParser(description='Every check of `make test`.')
    parser.add_argument('--workers', type=int, default=2, help='pages run at a time')
    parser.add_argument('--flags', default='', help='cells to run that are skipped otherwise: slow gpu net')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='sprec-test-') as tmp:
        src, work = (copy_tree(Path(tmp).resolve()/d) for d in ('sprec-src', 'work'))
        if check_readable(src):
            check_clean(src, work)
            check_outputs(src)
            check_formulas(src)
            check_library(src, work)
            check_imports(src)
            check_names(src)
            check_one_meaning(src)
            check_form(src)
            check_types(src)
            check_readme(src)
            check_claims(src)
            check_pages(src, args.workers, args.flags)
    failed = [name for name, ok in results.items() if not ok]
    if failed: print('failed: ' + ', '.join(failed))
    print(f'{len(results) - len(failed)} passed, {len(failed)} failed')
    sys.exit(bool(failed))

if __name__ == '__main__': main()
