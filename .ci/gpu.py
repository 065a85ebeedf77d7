"""What a CUDA card is asked for, in one command that ends in time: checks against the processor, speed, and rows of a pretrained model.

usage: gpu.py --model FOLDER --out FOLDER [--minutes 9] [--jobs sprec-movielens:0 ...]

No network is needed: the weights, and packages that the machine lacks, are laid beside. Jobs run side by side, each in a process of
its own; what is finished when the time is over is kept, and a second call goes on from there. The rows of all jobs are gathered in
selfplay-*.jsonl and gpu-checks.jsonl. Exit code 0: every check held and every job is done; 1: a check or a job failed; 2: time is over."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZE = dict(template='bare', n_train=2048, n_valid=64, n_test=1000, sft_epochs=2, rounds=3, cases_per_round=512, batch_tokens=32_768, checkpoint_seconds=0, dtype='float32')
JOBS = ['sprec-movielens:0', 'sprec-movielens:1', 'sprec-movielens:2', 'sprec-goodreads:0', 'sprec-steam:0', 'sprec-cds:0']


def say(*what):
    print(f'{time.perf_counter() - BEGAN:6.1f} s', *what, flush=True)


def checked(name, gap, bound):
    say(f"{'ok  ' if gap <= bound else 'FAIL'} {name}: {gap:.2g}, at most {bound:g}")
    return dict(check=name, gap=float(gap), bound=bound, ok=bool(gap <= bound))


def checks(folder):
    "The card in fp32 against the processor in fp32, with the same weights."
    import numpy as np, torch
    from sprec.decode import tree_beams
    from sprec.exact import tree_best
    from sprec.inputs import get_data, get_model
    from sprec.settings import settle
    from sprec.preference import PreferenceCollator, pref_rows
    from sprec.tree import branch_logps
    settings = settle('paper', folder, dict(SIZE, n_train=64, n_valid=8, n_test=8))
    torch.manual_seed(0)
    split, _ = get_data('sprec-movielens', settings, 0)
    rec = get_model(folder, split, settings, 0)
    rec.lm.eval()
    for n, p in rec.lm.named_parameters():
        if 'lora_B' in n: torch.nn.init.normal_(p, std=.002)
    prompts, k = rec.prompts(split.test)[:4], 5
    rows = pref_rows(prompts, [rec.titles[i] for i in split.test.target[:4]], [[rec.titles[0], rec.titles[1]]]*4)
    batch = PreferenceCollator(rec.tok.pad_token_id)([rows[i] for i in range(4)])
    def gap(a, b): # inf where one has a number and the other has none
        if not np.isfinite(a).any() or (np.isfinite(a) != np.isfinite(b)).any(): return np.inf
        return np.abs(a[np.isfinite(a)] - b[np.isfinite(a)]).max()
    def all_of(device):
        lm = rec.lm.to(device)
        with torch.no_grad(): logps = branch_logps(lm, {n: v.to(device) for n, v in batch.items()}).cpu()
        best = tree_best(lm, prompts[:2], rec.trie, k, 1500, pad_id=rec.tok.pad_token_id)
        return logps, tree_beams(lm, prompts, rec.trie, k, k, pad_id=rec.tok.pad_token_id)[1].cpu(), torch.as_tensor(best.scores[:, :2]), torch.as_tensor(best.bound)
    names = 'log-probabilities of tree rows', 'scores of five beams', 'scores of the exact search', 'bound of the exact search'
    cpu, card = all_of('cpu'), all_of('cuda')
    return [checked(n, gap(np.asarray(a), np.asarray(b)), 2e-3) for n, a, b in zip(names, cpu, card)]


def rate():
    "What the card does on plain matrix products: TFLOP/s in fp32 and bf16."
    import torch
    out = {}
    for kind in (torch.float32, torch.bfloat16):
        a = torch.randn(8192, 8192, device='cuda').to(kind)
        for _ in range(3): a @ a
        torch.cuda.synchronize(); t = time.perf_counter()
        for _ in range(10): a @ a
        torch.cuda.synchronize()
        out[str(kind).removeprefix('torch.')] = 10*2*8192**3/(time.perf_counter() - t)/1e12
    say('TFLOP/s', {k: round(v, 1) for k, v in out.items()})
    return out


def like(first, second, data, model, seed, changes):
    "A second run's folder with the first one's SFT model, so that both go on from the same weights."
    from sprec.experiment import prepare
    from sprec.runs import claim
    from sprec.files import beside
    if not (second/'sft').exists():
        config = prepare(['sprec'], data, model, seed, 'paper', changes).config
        claim(second, config)
        with beside(second/'sft') as part: shutil.copytree(first/'sft', part)


def rows(data, seed, model, out, size, ask):
    "One data set and seed: SFT, SPRec, DPO with random negatives, SPRec with exact negatives; lists by beams and exactly."
    from sprec.searches import search_run
    from sprec.experiment import run
    name = f'{Path(data).name}-{seed}'
    first, second, lists, told = out/name, out/f'{name}-exact', out/f'{name}-lists.jsonl', lambda text='': say(name, text)
    run('bigrec', data, model, seed, first, 'paper', size, told)
    search_run(first, lists, 'sft', **ask, widths=(5,), say=told)
    for method in ('sprec', 'dpo-rn'):
        run(method, data, model, seed, first, 'paper', size, told)
        search_run(first, lists, method, **ask, widths=(5,), say=told)
    exactly = dict(size, decoding='exact')
    like(first, second, data, model, seed, exactly)
    run('sprec', data, model, seed, second, 'paper', exactly, told)
    search_run(second, out/f'{name}-exact-lists.jsonl', 'sprec', **ask, widths=(5,), say=told)
    search_run(first, lists, 'pretrained', **ask, widths=(5,), say=told)
    search_run(first, lists, 'sft', **ask, widths=(1, 10, 20, 50, 200), say=told)
    marginals(first, out/f'{name}-marginals.npz', told)


def marginals(run, path, told, n=48):
    "The policy's mean over training prompts, for each title, before training and after each method."
    import numpy as np
    from sprec.searches import model_of
    from sprec.files import beside
    kept = dict(np.load(path)) if path.exists() else {}
    for method in ('pretrained', 'sft', 'sprec', 'dpo-rn'):
        if method in kept: continue
        rec, split, *_ = model_of(run, method)
        some = split.train[np.arange(min(n, len(split.train)))]
        kept[method] = np.logaddexp.reduce(rec.score_catalog(some, renormalize=False).astype(np.float64), 0) - np.log(len(some))
        with beside(path) as part:
            with open(part, 'wb') as f: np.savez(f, **kept)
        told(f'{method}: marginal over {n} prompts')


def side_by_side(jobs, args, at_once, until):
    "Some jobs at a time, each in a process of its own; those that are not done in time are ended, and go on in another call."
    env = dict(os.environ, OMP_NUM_THREADS='2', TOKENIZERS_PARALLELISM='false', PYTORCH_CUDA_ALLOC_CONF='expandable_segments:True')
    def start(job):
        with open(OUT/f"{Path(job).name.replace(':', '-')}.log", 'a') as log:
            return subprocess.Popen([sys.executable, __file__, '--job', job, *args], env=env, stdout=log, stderr=subprocess.STDOUT)
    waiting, running, failed = list(jobs), {}, 0
    while time.perf_counter() < until and (waiting or running):
        while waiting and len(running) < at_once:
            running[waiting[0]] = start(waiting[0]); waiting.pop(0)
        time.sleep(.5)
        for job, p in list(running.items()):
            if p.poll() is None: continue
            say(job, 'done' if not p.poll() else f'failed with {p.poll()}')
            running.pop(job); failed += bool(p.poll())
    for job, p in running.items():
        say(job, 'not done, goes on in another call'); p.kill()
    return 1 if failed else 2 if running or waiting else 0


def gather(jobs):
    "The rows of all jobs in one file of each kind."
    from sprec.files import read_array
    lists, rows, gone = [], [], []
    read = lambda path: [json.loads(l) for l in path.read_text().splitlines()] if path.exists() else []
    for name in [Path(j).name.replace(':', '-') for j in jobs]:
        for more, decoding in (('', 'greedy'), ('-exact', 'exact')):
            here = OUT/f'{name}{more}'
            own = [dict(r, decoding=decoding, model=Path(r['model']).name) for r in read(here/'rows.jsonl') if r['method'] != 'bigrec']
            rows += own; lists += [dict(r, decoding=decoding) for r in read(OUT/f'{name}{more}-lists.jsonl')]
            for r in [r for r in own if r['method'] == 'sprec' and r['round']]:
                items = read_array(here/'sprec'/f"round-{r['round']}"/'negatives.npy')[:, 0]
                gone.append({k: r[k] for k in ('data', 'seed', 'model', 'method', 'round', 'decoding', 'commit')} | dict(rejected=items.tolist()))
    for name, what in dict(lists=lists, rows=rows, rejected=gone).items():
        (OUT/f'selfplay-{name}.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in what))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', required=True, help='a folder with the weights, such as SmolLM2-135M-Instruct')
    parser.add_argument('--out', default='runs/gpu')
    parser.add_argument('--minutes', type=float, default=9)
    parser.add_argument('--jobs', nargs='*', default=JOBS, help='data:seed')
    parser.add_argument('--set', nargs='*', default=[], dest='changes', help='settings of the runs that differ, key=value')
    parser.add_argument('--cases', type=int, default=400, help='test cases that are answered exactly')
    parser.add_argument('--budget', type=int, default=4000, help='most tokens of an exact answer')
    parser.add_argument('--at-once', type=int, default=4, help='jobs on the card at a time')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    parser.add_argument('--skip-checks', action='store_true')
    a = parser.parse_args()
    BEGAN, OUT = time.perf_counter(), Path(a.out)
    sys.path.insert(0, str(HERE.parent))
    OUT.mkdir(parents=True, exist_ok=True)
    from sprec.settings import as_changes
    size = SIZE | as_changes(a.changes)
    if a.job:
        data, seed = a.job.rsplit(':', 1)
        import transformers
        transformers.utils.logging.set_verbosity_error()
        rows(data, int(seed), a.model, OUT, size, dict(cases=a.cases, budget=a.budget))
        sys.exit()
    import torch
    if not torch.cuda.is_available(): sys.exit('there is no CUDA card here')
    held = True
    if not a.skip_checks:
        from sprec.runs import provenance
        found, speed = checks(a.model), rate()
        told = found + [dict(check=f'matrix products, {k}', tflops=round(v, 1)) for k, v in speed.items()]
        (OUT/'gpu-checks.jsonl').write_text(''.join(json.dumps(r | provenance()) + '\n' for r in told))
        held = all(r['ok'] for r in found)
        torch.cuda.empty_cache()
    more = ['--model', a.model, '--out', a.out, '--cases', str(a.cases), '--budget', str(a.budget), '--set', *a.changes]
    how = side_by_side(a.jobs, more, a.at_once, BEGAN + 60*a.minutes) if held else 1
    gather(a.jobs)
    sys.exit(how)
