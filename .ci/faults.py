"""Kill, starve and damage a short run; the same command must end in the same bits, or in one sentence.

usage: faults.py [--points N] [--seed S] [--minutes M] [--workers W] [--quick] [--rows FILE]

A toy run (titles, SFT, two rounds of SPRec, report) is done once undisturbed. Then it is killed with SIGKILL at N random moments and
at each rename, before or after it; the disk is full, or read-only; each file of a finished and of a half-finished run is damaged.
Rows (but for seconds, memory and where they were made) and all weights are compared. Every attempt is a process of its own: a fork of
this one, which has loaded the libraries and done nothing else. Figures are files without a picture."""
import argparse
import errno
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from multiprocessing import get_context
from pathlib import Path

for k, v in dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', TQDM_DISABLE='1', PYTHONWARNINGS='ignore').items(): os.environ.setdefault(k, v)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
import transformers
import datasets
from common import keep_rows
from sprec.errors import InputError
from sprec import report
from sprec.experiment import run

transformers.utils.logging.set_verbosity_error(); transformers.utils.logging.disable_progress_bar(); datasets.disable_progress_bars()
torch.set_num_threads(1)
drawn = report.png_of
report.png_of = lambda fig, *a, **kw: drawn(fig, *a, **kw) if isinstance(fig, (str, Path)) else b'\x89PNG'   # figures are written and not drawn, to save half of the time
gc.freeze()                                                                                             # what is loaded is never looked through again
SIZES = dict(n_train=48, n_valid=8, n_test=16, hidden=32, title_epochs=1, sft_epochs=3, rounds=2, cases_per_round=24, title_batch=32, sft_batch=16,
             round_sft_batch=8, dpo_batch=8, dpo_lr=1e-3, micro_batch=8, checkpoint_seconds=.1)
SAID, TRACE = 3, 4   # exit codes: one sentence, a traceback

def attempt(out, hook=None, wait=None):
    "The command in a process of its own, perhaps killed after some seconds: (exit code or -signal, what it said)."
    log = Path(tempfile.gettempdir())/f'faults-{os.getpid()}.log'   # not on the disk that is tried
    pid = os.fork()
    if not pid:
        code = TRACE
        try:
            fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(fd, 1); os.dup2(fd, 2)
            if hook: hook()
            run('sprec', 'toy', 'tiny', 0, out, 'demo', SIZES)
            code = 0
        except InputError as e: os.write(2, f'\nsprec: {e}\n'.encode()); code = SAID
        except BaseException: os.write(2, traceback.format_exc().encode())
        finally: os._exit(code)
    if wait is not None: time.sleep(wait); os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), log.read_text(errors='replace')

def ending(out):
    "What a run ended in: rows without time and place, weights by their hash."
    drop = ('seconds', 'peak', 'commit', 'versions', 'hardware')
    rows = [{k: v for k, v in json.loads(l).items() if not k.startswith(drop)} for l in (out/'rows.jsonl').read_text().splitlines()]
    behind = (out/'details.jsonl').read_text().splitlines()
    weights = {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.rglob('*.safetensors')) if p.name != 'trie.safetensors'}   # whose header has its entries in any order
    return rows, [{k: v for k, v in json.loads(l).items() if not k.startswith(drop)} for l in behind], weights

def counting(path):
    def hook():
        real, calls = os.replace, []
        def replace(*a, **kw): calls.append(1); Path(path).write_text(str(len(calls))); return real(*a, **kw)
        os.replace = replace
    return hook

def killing(at, after):
    def hook():
        real, calls = os.replace, []
        def replace(*a, **kw):
            calls.append(1)
            if len(calls) == at and not after: os.kill(os.getpid(), signal.SIGKILL)
            real(*a, **kw)
            if len(calls) == at: os.kill(os.getpid(), signal.SIGKILL)
        os.replace = replace
    return hook

def failing(at, code):
    def hook():
        real, calls = os.replace, []
        def replace(*a, **kw):
            calls.append(1)
            if len(calls) >= at: raise OSError(code, os.strerror(code), str(a[0]))
            return real(*a, **kw)
        os.replace = replace
    return hook

def one_sentence(said): return sum(l.startswith('sprec: ') for l in said.splitlines()) == 1 and 'Traceback' not in said

# each fault: a folder and what is known of the undisturbed run -> '' or what is wrong
def at_moment(out, want, seconds):
    attempt(out, wait=seconds)
    return goes_on(out, want)

def at_rename(out, want, at, after):
    code, said = attempt(out, killing(at, after))
    return goes_on(out, want) if code in (-signal.SIGKILL, 0) else f'ended with {code}: {said[-300:]}'

def goes_on(out, want):
    code, said = attempt(out)
    if code: return f'did not go on ({code}): {said.strip()[-600:]}'
    got = ending(out)
    left = [p.name for p in out.rglob('*') if p.name.endswith(('.partial', '.old'))]
    return f'left {left}' if left else '' if got == want else 'other ' + ', '.join(n for n, a, b in zip(('rows', 'details', 'weights'), got, want) if a != b)

def no_room(out, want, at, code):
    rc, said = attempt(out, failing(at, code))
    if rc != SAID or not one_sentence(said): return f'ended with {rc}: {said.strip()[-600:]}'
    return goes_on(out, want)

def small_disk(out, want, kilobytes):
    out.mkdir()
    mount = lambda *how: subprocess.run(['mount', '-t', 'tmpfs', *how, 'tmpfs', str(out)], capture_output=True).returncode == 0
    if not mount('-o', f'size={kilobytes}k'): shutil.rmtree(out); return None
    try:
        rc, said = attempt(out/'run')
        if rc != SAID or not one_sentence(said): return f'ended with {rc}: {said.strip()[-600:]}'
        mount('-o', 'remount,ro')
        rc, said = attempt(out/'run')
        if rc not in (SAID, TRACE) or not one_sentence(said): return f'read-only, ended with {rc}: {said.strip()[-600:]}'
        mount('-o', 'remount,rw,size=1g')
        return goes_on(out/'run', want)
    finally: subprocess.run(['umount', str(out)], capture_output=True)

def damaged(out, want, source, name, how):
    shutil.copytree(source, out)
    raw = bytearray((out/name).read_bytes())
    if how == 'cut': raw = raw[:len(raw)//2]
    elif raw: raw[random.Random(str(name)).randrange(len(raw))] ^= 1 << random.Random(f'{name} {how}').randrange(8)
    (out/name).write_bytes(raw)
    rc, said = attempt(out)
    if rc == SAID: return '' if one_sentence(said) else f'{name}: said {said.strip()[-600:]}'
    if rc: return f'{name}: ended with {rc}: {said.strip()[-600:]}'
    got, other = ending(out), []
    if got[:2] != want[:2]: other.append('rows')
    if any(got[2].get(k) != v for k, v in want[2].items() if k in got[2] and k != str(name)): other.append('weights')
    return f'{name}: other {other}' if other else ''

FAULTS = dict(moment=at_moment, rename=at_rename, refused=no_room, disk=small_disk, damaged=damaged)
LABELS = dict(moment='killed at a random moment', rename='killed at a rename', refused='a write refused: full or read-only', disk='a small disk, then read-only, then room', damaged='one file damaged')

def task(job):
    i, kind, base, want, args, until = job
    if time.time() > until: return i, kind, 'not tried'
    out = Path(base)/f'{kind}-{i}'
    try: why = FAULTS[kind](out, want, *args)
    except Exception: why = traceback.format_exc()[-600:]
    if why == '': shutil.rmtree(out, ignore_errors=True)
    return i, kind, why

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--points', type=int, default=30, help='random moments')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--minutes', type=float, default=9., help='no new attempt after so long')
    p.add_argument('--workers', type=int, default=2)
    p.add_argument('--quick', action='store_true', help='as many renames as moments, nothing else')
    p.add_argument('--only', default='', help='one kind: ' + ', '.join(FAULTS))
    p.add_argument('--rows', help='a file for the counts, one JSON line a kind')
    a = p.parse_args()
    begin, rng, base = time.time(), random.Random(a.seed), Path(tempfile.mkdtemp())
    clean = base/'clean'
    rc, said = attempt(clean, counting(base/'count'))
    if rc: sys.exit(f'the undisturbed run ended with {rc}:\n{said}')
    seconds = time.time() - begin
    want, renames = ending(clean), int((base/'count').read_text())
    again = base/'again'
    if not a.quick and (attempt(again)[0] or ending(again) != want): sys.exit('two undisturbed runs differ')
    places = list(range(1, renames + 1))
    if a.quick: places = rng.sample(places, min(a.points, renames))
    jobs = [('moment', (rng.uniform(.05, 1.)*seconds,)) for _ in range(a.points)] + [('rename', (k, rng.random() < .5)) for k in places]
    if not a.quick:
        jobs += [('refused', (k, rng.choice([errno.ENOSPC, errno.EROFS]))) for k in rng.sample(range(1, renames + 1), 8)]
        size = sum(f.stat().st_size for f in clean.rglob('*') if f.is_file())//1024
        jobs += [('disk', (max(64, int(size*share)),)) for share in (.1, .3, .6)]
        half = base/'half'
        attempt(half, killing(int(renames*.7), False))
        for source in (clean, half): jobs += [('damaged', (source, f.relative_to(source), rng.choice(['bit', 'cut']))) for f in sorted(source.rglob('*')) if f.is_file() and f.name != '.lock']
    if a.only: jobs = [j for j in jobs if j[0] == a.only]
    rng.shuffle(jobs)
    with get_context('fork').Pool(a.workers) as pool:
        done = list(pool.imap_unordered(task, [(i, kind, base, want, args, begin + 60*a.minutes) for i, (kind, args) in enumerate(jobs)]))
    table = []
    for kind in FAULTS:
        own = [why for _, k, why in done if k == kind and why is not None]
        if tried := [w for w in own if w != 'not tried']: table.append(dict(fault=LABELS[kind], tried=len(tried), survived=sum(w == '' for w in tried), left_out=len(own) - len(tried)))
        elif any(k == kind for _, k, _ in done): table.append(dict(fault=LABELS[kind], tried=0, survived=0, left_out=len(own)))
    wide = max(len(r['fault']) for r in table)
    print(f'{"fault":{wide}}  tried  survived')
    for r in table: print(f'{r["fault"]:{wide}}  {r["tried"]:5}  {r["survived"]:8}' + (f'  ({r["left_out"]} not tried for want of time)' if r['left_out'] else ''))
    bad = [(k, w) for _, k, w in sorted(done, key=lambda d: d[0]) if w not in ('', None, 'not tried')]
    for k, w in bad: print(f'\n{LABELS[k]}: {w}')
    print(f'{renames} renames in the run; seed {a.seed}', file=sys.stderr); print(f'{time.time() - begin:.0f} s', file=sys.stderr)
    if a.rows: keep_rows(a.rows, [r | dict(seed=a.seed, renames=renames, seconds=round(time.time() - begin)) for r in table], 'make faults')
    if not bad: shutil.rmtree(base, ignore_errors=True)
    sys.exit(bool(bad))

if __name__ == '__main__': main()
