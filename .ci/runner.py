"""Runs pages as `nbdev_test` does (same shell, same skipped cells, in the notebook's folder) and keeps what they show.

usage: runner.py OUT [--workers 2] [--flags "slow"] [--threads 1] PAGE ...
Each page has a process of its own, forked after the slow imports. OUT gets a JSON file a page: seconds, error, outputs by cell id."""
import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import sys
import time
import traceback
from multiprocessing.connection import wait
from pathlib import Path

def preload(threads):
    "Import what most pages import. With a number of threads, pages cannot choose another one."
    import matplotlib.pyplot, pandas, seaborn, torch, transformers, trl, peft, datasets, nbdev.test   # noqa: F401
    if threads:
        torch.set_num_threads(threads)
        torch.set_num_threads = lambda n: None
    gc.collect(); gc.freeze()      # what pages share is not searched for rubbish each time a Trainer ends

def make_shell(path):
    from execnb.shell import CaptureShell
    from fastcore.basics import AttrDict
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    class Shell(CaptureShell):
        "As nbdev's, but a semicolon hides only the value and not what was printed, as in a notebook."
        def _run(self, raw_cell, store_history=False, silent=False, shell_futures=True, cell_id=None, stdout=True, stderr=True, display=True, verbose=False):
            with capture_output(display=display, stdout=stdout, stderr=stderr) as c:
                r = InteractiveShell.run_cell(self, raw_cell, store_history, silent, shell_futures=shell_futures, cell_id=cell_id)
            return AttrDict(result=r, stdout=c.stdout, stderr=c.stderr, display_objects=c.outputs,
                            exception=r.error_in_exec or r.error_before_exec, quiet=raw_cell.rstrip().endswith(';'))
    return Shell(path, mpl_format='png')

def run_page(path, flags='', place=None):
    "Run one page in this process: a dict with seconds, error ('' if all is well), outputs and processor seconds by cell id."
    from nbdev.config import get_config
    from nbdev.frontmatter import FrontmatterProc
    from nbdev.process import NBProcessor
    import figures
    os.environ['IN_TEST'] = '1'
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != here]      # pages do not see this folder
    skip, start, outputs, cpu, error = set(get_config().tst_flags.split()) - set(flags.split()), time.time(), {}, {}, ''
    nb = NBProcessor(path, procs=FrontmatterProc, process=True).nb
    if str(getattr(nb, 'frontmatter_', {}).get('skip_exec', '')).lower() == 'true': return dict(secs=0, error='', outputs={})
    os.chdir(path.parent)
    shell = make_shell(path)
    figures.install(shell)
    placed = place(shell, get_config().lib_path) if place else None
    for cell in nb.cells:
        found = getattr(cell, 'directives_', None) or {}
        if cell.cell_type != 'code' or skip & found.keys() or found.get('eval:', [''])[0].lower() == 'false': continue
        if placed: placed.cell(cell['id'])
        before = sum(os.times()[:4])
        outputs[cell['id']] = shell.run(cell.source)
        cpu[cell['id']] = sum(os.times()[:4]) - before       # with the processes it waited for
        if shell.exc:
            said = ''.join(''.join(o['text']) for o in outputs[cell['id']] if o['output_type'] == 'stream')
            error = f"cell {cell['id']} of {path.name}:\n{said[-2000:]}" + ''.join(traceback.format_exception(shell.exc))
            break
    return dict(secs=time.time() - start, error=error, outputs=outputs, cpu=cpu)

def child(path, out, flags, cover, place):
    "A page in a process of its own; what it prints past the shell goes to a file."
    with open(out.with_suffix('.log'), 'w') as log:
        os.dup2(log.fileno(), 1); os.dup2(log.fileno(), 2)
        with cover() if cover else contextlib.nullcontext():
            try: done = run_page(path, flags, place)
            except BaseException: done = dict(secs=0, error=traceback.format_exc(), outputs={})
    out.write_text(json.dumps(done, default=str), encoding='utf-8')

def result_of(out, code):
    "What a page left behind, also when its process was killed."
    if out.exists(): return json.loads(out.read_text(encoding='utf-8'))
    return dict(secs=0, error=f'its process ended with code {code}', outputs={})

first = ['90_cli', 'llama_on_gpus', '40a_grid', '40_experiment', '25_token_bias', '24_selfplay', '20_sft', '16_decode', '42_main_results', '23_preference']

def begun_first(path):
    "Where a page stands in the queue: those that take longest come first, or one of them would run on alone at the end."
    return first.index(path.stem) if path.stem in first else len(first)

def run_all(paths, out, workers, flags, cover=None, place=None):
    "All pages, some at a time."
    ctx, todo, running = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn'), sorted(paths, key=begun_first), {}
    while todo or running:
        while todo and len(running) < workers:
            path = todo.pop(0)
            p = ctx.Process(target=child, args=(path, out/f'{path.stem}.json', flags, cover, place))
            p.start()
            running[p.sentinel] = p, path
        for s in wait(running):
            p, path = running.pop(s)
            p.join()
            done = result_of(out/f'{path.stem}.json', p.exitcode)
            print(f"{path.name}\t{done['secs']:.0f}\t{'failed' if done['error'] else 'ok'}", flush=True)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('out', type=Path)
    parser.add_argument('pages', type=Path, nargs='+')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--flags', default='')
    parser.add_argument('--threads', type=int, default=0, help='0: as the page says')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    preload(args.threads)
    cover = place = None
    if os.environ.get('COVERAGE_PROCESS_START'): from coverage_child import cover, Placed as place
    run_all([p.absolute() for p in args.pages], args.out.absolute(), args.workers, args.flags, cover, place)

if __name__ == '__main__': main()
