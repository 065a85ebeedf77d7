"""Which lines of sprec/ the pages run, the commands they start included.  usage: cover.py [--workers 2] [--rows FILE] [PAGE ...]"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from check import copy_tree, run_pages
from common import bin_dir, cfg, keep_rows, page_env

lib = cfg['lib_path']
# run by every Python that a page starts, as the folder is on its path; the runner's pages see to themselves (coverage_child.py)
starter = '''import os, sys
if os.environ.get('COVERAGE_PROCESS_START') and not any(a.endswith('runner.py') for a in sys.orig_argv):
    import coverage
    coverage.process_startup()
'''

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--rows', help='a file for the counts')
    parser.add_argument('pages', nargs='*')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='sprec-cover-') as tmp:
        src, start = copy_tree(Path(tmp).resolve()/'sprec-src'), Path(tmp).resolve()/'start'
        start.mkdir()
        (start/'sitecustomize.py').write_text(starter)
        conf = start/'coveragerc'
        conf.write_text(f'[run]\nsource = {src/lib}\nomit = {src/lib}/_modidx.py\nparallel = True\nsigterm = True\ndata_file = {start}/data\n'
                        f'[report]\nexclude_also =\n    if __name__ == .__main__.\n')
        ran = run_pages(src, src.parent/'ran', args.workers, '', 0, args.pages, PYTHONPATH=f'{src}:{start}', COVERAGE_PROCESS_START=str(conf))
        for p, done in ran.items():
            if done['error']: print(f"FAIL  {p.stem}: {done['error'].strip().splitlines()[-1]}")
        for cmd in (['combine', '-q'], ['report', '--sort=cover', '--show-missing'], ['json', '-q', '-o', str(start/'cover.json')]):
            subprocess.run([bin_dir/'python', '-m', 'coverage', *cmd, f'--rcfile={conf}'], cwd=src, env=page_env())
        t = json.loads((start/'cover.json').read_text())['totals']
        row = dict(lines=t['num_statements'], run=t['covered_lines'], share=round(t['covered_lines']/t['num_statements'], 4), pages=' '.join(args.pages) or 'all')
        if args.rows: keep_rows(args.rows, [row], 'make coverage')

if __name__ == '__main__': main()
