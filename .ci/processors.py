"""Every page with each instruction set, with one thread and with two: a page that passes here passes on other processors too.

usage: processors.py [--workers 2] [--setting default:1 ...] [--rows FILE] [PAGE ...]
PyTorch, oneDNN and numpy are held to the instruction set together; MKL_CBWR=COMPATIBLE gives MKL its code path for processors of any maker."""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from check import copy_tree, page_problems, run_pages
from common import bin_dir, keep_rows, page_env, pages, root

# numpy's names of what goes beyond the common ground of x86-64, by its 2.4 groups; names a processor lacks are left out below
levels = {'default': dict(ATEN_CPU_CAPABILITY='default', ONEDNN_MAX_CPU_ISA='SSE41', off=['X86_V3', 'X86_V4']),
          'avx2': dict(ATEN_CPU_CAPABILITY='avx2', ONEDNN_MAX_CPU_ISA='AVX2', off=['X86_V4']),
          'avx512': dict(ATEN_CPU_CAPABILITY='avx512', off=[])}

def ask(code, **env):
    "One line of Python in a process of its own."
    return subprocess.run([bin_dir/'python', '-c', code], env=page_env(**env), capture_output=True, text=True).stdout.strip()

def settings():
    "(name, threads, environment) of every run this processor can make."
    mine = ask('import numpy; print(*numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", []))').split()
    for name, level in levels.items():
        env = {k: v for k, v in level.items() if k != 'off'}
        if off := [f for f in level['off'] if f in mine]: env['NPY_DISABLE_CPU_FEATURES'] = ' '.join(off)
        if ask('import torch; print(torch.backends.cpu.get_cpu_capability())', **env).lower() != name: continue
        for threads in (1, 2): yield name, threads, env
    yield 'MKL_CBWR=COMPATIBLE', 1, dict(MKL_CBWR='COMPATIBLE')

def keep(path, some, name, threads, good, bad, secs):
    "The row of one setting in the file of rows, in place of an older one."
    row = dict(instructions=name, threads=threads, pages=' '.join(some) or 'all', passed=good, failed=len(bad), which=' '.join(sorted(bad)), seconds=round(secs))
    keep_rows(path, [row], 'make test-processors', key=['instructions', 'threads', 'pages'])

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--rows', help='a file for the counts, one JSON line a setting; written as each ends, other settings stay')
    parser.add_argument('--setting', nargs='*', help='some only, such as avx2:2 (instructions:threads)')
    parser.add_argument('pages', nargs='*')
    args = parser.parse_args()
    if unknown := set(args.pages) - {p.stem for p in pages()}: sys.exit(f"no page named {' or '.join(sorted(unknown))}")
    table, todo = [], [x for x in settings() if not args.setting or f'{x[0]}:{x[1]}' in args.setting]
    if not todo: sys.exit(f"no setting {' or '.join(args.setting)} here; there are: {' '.join(f'{n}:{t}' for n, t, _ in settings())}")
    with tempfile.TemporaryDirectory(prefix='sprec-test-') as tmp:
        src = copy_tree(Path(tmp).resolve()/'sprec-src')
        for i, (name, threads, env) in enumerate(todo):
            print(f'{name}, {threads} thread{"s"*(threads > 1)}', flush=True)
            os.environ['SPREC_TEST_THREADS'] = str(threads)
            wait = dict(OMP_WAIT_POLICY='PASSIVE') if threads > 1 else {}      # two pages at a time: a thread that waits leaves its core to the other
            ran = run_pages(src, src.parent/f'ran-{i}', args.workers, '', threads if threads > 1 else 0, args.pages, **env, **wait)
            bad = {p.stem: said for p, done in ran.items() if (said := page_problems(p, done))}
            for stem, said in bad.items():
                print(f'FAIL  {stem}')
                for s in said: print(f'      {s}')
            table.append((name, threads, len(ran) - len(bad), bad, sum(d['secs'] for d in ran.values())))
            if args.rows: keep(args.rows, args.pages, *table[-1])
    print(f"\n{'instructions':22}{'threads':>8}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for name, threads, good, bad, secs in table: print(f'{name:22}{threads:8}{good:8}{len(bad):8}{secs:9.0f}  {" ".join(bad)}')
    sys.exit(any(bad for *_, bad, _ in table))

if __name__ == '__main__': main()
