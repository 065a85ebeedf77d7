"""Feed mutated files to every raw reader.  usage: fuzz.py [--target NAME ...] [--seconds N] [--seed N] [--out FOLDER] [--plain]

A reader may answer with a log or with an `InputError`, which is one sentence; anything else, or more than ten seconds of the processor, is a finding.
With `atheris` installed the mutations follow the coverage of `sprec`; without it (or with --plain) they follow what the readers answer.
Findings are kept under --out as the input, and as text the traceback. The exit status is 1 where there are any."""
import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from common import keep_rows, rows_of

CUT = b'\n\x00next file\x00\n'  # what stands between the files of an input
SLOW = 10                       # seconds

def _films(sep, rows): return '\n'.join(sep.join(map(str, r)) for r in rows).encode()
RATED = [(u, i, r, 838985046 + 100*u + 7*n) for u in (1, 2) for n, (i, r) in enumerate([(1, 5), (2, 3.5), (7, 4), (1, 2), (2, 5)])]
FLAGS = ['|'.join('1' if k == g else '0' for k in range(19)) for g in (1, 5, 8)]
INTER = b'user_id:token\titem_id:token\trating:float\ttimestamp:float\n' + _films('\t', RATED)
TABLE = ('user,item,timestamp,title,categories,rating\nann,i1,2024-01-01 10:00:00,"Tea, green","[\'tea\', \'green\']",5\nann,i2,1704100000.5,Salt &amp; Pepper,spice|hot,4\n'
         'ann,i1,1704100001.25,x,,\nann,i2,2024-01-04,,,\nbob,i1,2024-01-02T00:00:00.25Z,Cr\xe8me,tea,\nbob,i3,2024-01-03,"The ""Best""","a, b",1\n')

def _json(*rows): return '\n'.join(json.dumps(r) for r in rows).encode()
def _literal(*rows): return '\n'.join(map(repr, rows)).encode()
SHELF = dict(user_id='u1', book_id='7', is_read=True, rating=5, date_added='Thu Aug 17 15:15:28 -0700 2017', read_at='', started_at='')
TAKEN = [dict(reviewerID='A1', asin='0005119367', overall=5.0, unixReviewTime=1400000000, helpful=[0, 0]), *(dict(reviewerID='A1', asin='B01', overall=3.0, unixReviewTime=t) for t in (1158019200, 1158105600, 1158192000))]
ASKED = [dict(instruction='', input='The user has read: "Plain", "A "Great" Book", "Yes", "No", what next?', output='"D\xe9j\xe0 lu"\n'),
         dict(instruction='', input='You read: "Tom &amp; Jerry", "Plain"', output='"Yes", "No"')]

TARGETS = { # name: [(role, file name, seeds)]
    'movielens-csv': [('ratings', 'ratings.csv', [b'userId,movieId,rating,timestamp\r\n' + _films(',', RATED)]),
                      ('movies', 'movies.csv', [b'movieId,title,genres\r\n1,"Lantern, The (1999)",Comedy|Drama\r\n2,Caf\xc3\xa9 (2001),Drama\r\n7,"Man ""No""\nTwo lines",(no genres listed)\r\n'])],
    'movielens-dat': [('ratings', 'ratings.dat', [_films('::', RATED)]), ('movies', 'movies.dat', [b'1::Two: One :: Zero (1999)::Drama|War\n2::Caf\xe9::Comedy\n7::None (2010)::(no genres listed)\n'])],
    'movielens-100k': [('ratings', 'u.data', [_films('\t', RATED)]), ('movies', 'u.item', ['\n'.join(f'{i}|T|{i} (1995)|01-Jan-1995||http://x|{f}' for i, f in zip((1, 2, 7), FLAGS)).encode()])],
    'recbole': [('inter', 'r.inter', [INTER]), ('item', 'r.item', [b'item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tAnimation Comedy\n2\tBond "No"\t\n7\tSeven\t["Film Noir"]\n'])],
    'recbole-parts': [('inter', 'r.train.inter', [INTER]), ('inter', 'r.test.inter', [INTER.replace(b':token', b'')]), ('item', 'r.item', [b'item_id:token\tname:token\n1\tA\n2\tB\n7\tC\n'])],
    'table': [('table', 't.csv', [TABLE.encode(), TABLE.encode('cp1252'), TABLE.replace(', ', '. ').encode()])],
    'table-sep': [('table', 't.txt', [TABLE.replace(',', '::').encode(), TABLE.replace(',', '::').encode('cp1252')])],
    'table-gbk': [('table', 't.csv', [TABLE.replace('\xe8', '\u9738').encode('gbk')])],
    'steam': [('reviews', 'steam_reviews.json', [b"{u'username': u'ann', u'product_id': u'1', u'recommend': True, u'date': u'2014-02-03'}\n" + _literal(*(dict(username='ann', product_id=k, date=f'2014-02-0{d}') for d, k in enumerate('2112', 4)))]),
              ('games', 'steam_games.json', [_literal(dict(id='1', title='Rock &amp; Roll', app_name='Rock', genres=['Indie'], tags=['Indie', 'Music']), dict(id=2, app_name="It's", tags=[]))])],
    'goodreads': [('interactions', 'goodreads_interactions_x.json', [_json(SHELF, SHELF | dict(book_id='8', read_at='Fri Mar 06 01:10:00 +0530 2015', rating=0), SHELF | dict(book_id='8'), SHELF)]),
                  ('books', 'goodreads_books_x.json', [_json(dict(book_id='7', title='It (Horror, #1)', title_without_series='It'), dict(book_id='8', title='', title_without_series='Odd'))]),
                  ('genres', 'goodreads_book_genres_initial.json', [_json(dict(book_id='7', genres={'fiction': 3, 'fantasy, paranormal': 90}))])],
    'amazon-2014': [('reviews', 'reviews_X_5.json', [_json(*TAKEN)]), ('meta', 'meta_X.json', [_literal(dict(asin='0005119367', title='T &quot;B&quot;', categories=[['CDs & Vinyl', 'Pop']]), dict(asin='B01', title="It's", categories=[['CDs']]))])],
    'amazon-2018': [('reviews', 'X.csv', [b'A1,0005119367,5.0,1400000000\nA1,B01,4.0,1158019200\nA1,B01,4.0,1158105600\nA1,0005119367,1.0,1158192000\n']), ('meta', 'meta_X.json', [_json(dict(asin='0005119367', title='A', category=['CDs &amp; Vinyl', '</span></span>']), dict(asin='B01', title='B', category=['CDs']), dict(asin='B02', title='<span>x</span>'))])],
    'instructions': [(r, f'{r}.json', [json.dumps(ASKED).encode(), json.dumps(ASKED, ensure_ascii=False).encode()]) for r in ('train', 'valid', 'test')] +
                    [('titles', 'id2name.json', [b'{"1": "Plain", "2": "Yes\\", \\"No", "3": "Unread"}']), ('genres', 'name2genre.json', [b'{"Plain": ["drama", "new"], "Unread": "a|b"}']), ('selected', 'genre_dict.json', [b'{"drama": 0}'])],
    'instructions-games': [(r, f'{r}.json', [json.dumps(ASKED).encode()]) for r in ('train', 'valid', 'test')] +
                          [('games', 'steam_games.json', [_literal(dict(id='1', title='Plain', genres=['Indie'], tags=['Indie', 'Music']), dict(id=2, app_name='A "Great" Book', tags=[])), b'{"id": 1}\n'])],
    'rows': [('rows', 'rows.jsonl', [_json(dict(data='toy', model='tiny', seed=0, method='sft', round=0, **{'HR@5': .1, 'NDCG@5': .05}), dict(data='toy', model='tiny', seed=0, method='sprec', round=1, **{'HR@5': None}))])],
    'lists-csv': [('lists', 'lists.csv', [b'user_id,item_id,score\n1,5,.9\n1,6,.9\n2,5,1\n2,5,.5\n,6,1\n', b'1,5,1\n1,6,2\n2,5,1\n', b'user,items\n1,"[5, 6]"\n2,6 5\n', b'user,title,rank\n1,"Tea, green",1\n2,Salt & Pepper,1\n'])],
    'lists-json': [('lists', 'lists.jsonl', [_json(dict(user=1, items=[5, '6']), dict(user='2', items=[dict(id=5, score=.5)])), _json(dict(user=1, answer='1. **Tea, green** - fresh\n2. Salt & Pepper'), dict(user=2, answer='["Tea"]')),
                                                 _json(dict(custom_id='case-1', response=dict(body=dict(choices=[dict(message=dict(content='{"films": [{"title": "Tea", "year": 1999}]}'))])))), b'[{"user": 1, "items": [5]}]'])],
    'taken': [('taken', 'test.csv', [b'user,item,rating\n1,5,4\n2,6,\n2,6,5\n'])],
    'traits': [('traits', 'people.csv', [b'user,gender,age\n1,f,young\n2,m,\n'])],
    'settings': [('settings', 'settings.txt', [b'sep=::; user=uid', b'["sep=;", "ratios=7,1,2"]', b'min_rating=4; categories=a, b; taken_only=yes'])],
}

def audited(path): # lists read and matched with a small log
    import pandas as pd
    from sprec.audit import audit
    log = pd.DataFrame([(u, i, n, t) for u in '123' for n, (i, t) in enumerate((('5', 'Tea, green'), ('6', 'Salt & Pepper'), ('7', 'Tea (1999)')))], columns=['user', 'item', 'timestamp', 'title'])
    return audit(path, log, k=2)

def use(name, files): # run the readers of a target on its files
    from sprec.sources import READERS, read_settings, split_log
    from sprec.readers.instructions import split_instructions
    few = dict(n_train=None, history=2, min_history=1, min_length=2, ratios=(1, 1, 1))
    roles = {}
    for role, path in files: roles.setdefault(role, []).append(path)
    roles = {r: ps if len(ps) > 1 else ps[0] for r, ps in roles.items()}
    if name == 'rows':
        from sprec.rows import read_rows
        return read_rows(files[0][1])
    if name.startswith('lists'): return audited(files[0][1])
    if name in ('taken', 'traits'):
        from sprec.readers import lists
        return (lists.read_taken if name == 'taken' else lists.read_traits)(files[0][1])
    if name == 'settings': return read_settings(files[0][1].read_bytes().decode('utf-8', 'surrogateescape'))
    if name.startswith('instructions'): return split_instructions(roles, n_train=None)
    reader = 'table' if name.startswith('table') else re.split('-', name)[0]
    how = dict(sep='::') if name == 'table-sep' else dict(encoding='gbk') if name == 'table-gbk' else {}
    return split_log(READERS[reader](roles['table'] if reader == 'table' else roles, **how), **few)

class Probe:
    "One target: its folder, its counts, its findings."
    def __init__(self, name, out, stats):
        self.name, self.out, self.stats = name, Path(out)/name, stats
        fast = Path('/dev/shm')
        self.tmp = tempfile.TemporaryDirectory(dir=fast if fast.is_dir() and os.access(fast, os.W_OK) else None)
        self.runs, self.kinds, self.found, self.start = 0, {}, {}, time.time()

    def seeds(self):
        parts = [seeds for _, _, seeds in TARGETS[self.name]]
        return [CUT.join(p[k % len(p)] for p in parts) for k in range(max(map(len, parts)))]

    def __call__(self, data): # what became of an input, in a word
        from sprec.errors import InputError
        wanted, pieces = TARGETS[self.name], bytes(data).split(CUT)
        files = [(role, Path(self.tmp.name)/name) for role, name, _ in wanted]
        for (role, path), piece, (_, _, seeds) in zip(files, [*pieces, *[None]*len(wanted)], wanted): path.write_bytes(seeds[0] if piece is None else piece)
        begin, what = time.process_time(), ''        # not the wall's: the machine may be busy
        try:
            with warnings.catch_warnings(), open(os.devnull, 'w') as null, contextlib.redirect_stderr(null):
                warnings.simplefilter('ignore')
                out = use(self.name, files)
            what = 'read ' + ' '.join(sorted(k for k, v in getattr(out, 'manifest', {}).items() if v))
        except InputError as e: what = 'refused ' + re.sub(r"'[^']*'|\d+", '', str(e))[:60]
        except Exception as e: self.report(data, *self.where(e), traceback.format_exc())
        if (spent := time.process_time() - begin) > SLOW: self.report(data, 'slow', 'slow', f'{spent:.1f} s')
        self.runs += 1
        if self.runs % 50 == 0: self.tell()
        return what

    def where(self, e): # the kind of a finding, and where it was raised
        frames = [f for f in traceback.extract_tb(e.__traceback__) if f'{os.sep}sprec{os.sep}' in f.filename]
        return type(e).__name__, f'{Path(frames[-1].filename).name}:{frames[-1].name}' if frames else 'elsewhere'

    def report(self, data, kind, at, text):
        key = f'{kind} in {at}'
        if key in self.found: self.found[key] += 1; return
        self.found[key] = 1
        self.out.mkdir(parents=True, exist_ok=True)
        stem = hashlib.sha256(bytes(data)).hexdigest()[:8]
        (self.out/f'{stem}.bin').write_bytes(bytes(data))
        (self.out/f'{stem}.txt').write_text(f'{key}\n{text}')
        self.tell()

    def tell(self): self.stats.write_text(json.dumps(dict(runs=self.runs, seconds=time.time() - self.start, found=self.found)))

TOKENS = [b'"', b"'", b'\x00', b'\xff', b'\xc3\xa9', b'\x92', b'\xed\xa0\xbd', b'::', b',', b'\t', b'|', b';', b'{', b'}', b'[', b']', b'(', b'\n', b'\r', b'\r\n', b'1e999', b'-0', b'nan',
          b'inf', b'9'*30, b'-1', b'1.5', b'\xef\xbb\xbf', b'\xff\xfe', b'\x1f\x8b', b'&lt;', b'&#0;', b'\\', b'\\u0000', b'\\ud83d', b'None', b'null', b'true', b'0x1F', b'9999-12-31T23:59:60Z',
          b'0001-01-01', b'__import__("os")', b'</span>', b'', CUT, b'['*300, b'-'*300, b'"'*300]

def mutate(data, pool, rng): # one to four changes
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        i = rng.randrange(len(data) + 1)
        j = min(len(data), i + rng.choice((0, 1, 1, 2, 8, 64)))
        kind = rng.randrange(6)
        if kind == 0 and i < len(data): data[i] ^= 1 << rng.randrange(8)
        elif kind == 1: data[i:j] = rng.choice(TOKENS)
        elif kind == 2: data[i:i] = data[i:j]*rng.choice((1, 2, 50))
        elif kind == 3: del data[i:j]
        elif kind == 4: other = rng.choice(pool); k = rng.randrange(len(other) + 1); data[i:j] = other[k:k + rng.choice((4, 32, 256))]
        else: data[i:j] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 4))))
    return bytes(data[:1 << 16])

def plain_loop(probe, seconds, seed): # keeps an input whenever what became of it is new
    rng, pool, seen = random.Random(seed), probe.seeds(), set()
    for s in pool: seen.add(probe(s))
    probe.start, probe.runs = time.time(), 0                     # without the imports
    while time.time() - probe.start < seconds:
        data = mutate(rng.choice(pool), pool, rng)
        what = probe(data)
        if what and what not in seen and len(pool) < 5000: seen.add(what); pool.append(data)

def guided_loop(probe, seconds, seed): # ends the process
    import atheris
    with atheris.instrument_imports(include=['sprec.readers.tables', 'sprec.readers.records', 'sprec.sources', 'sprec.readers.instructions', 'sprec.data', 'sprec.rows']):
        import sprec.readers.instructions, sprec.rows, sprec.sources   # noqa: E401,F401
    corpus = Path(probe.tmp.name)/'corpus'
    corpus.mkdir()
    for n, s in enumerate(probe.seeds()): (corpus/str(n)).write_bytes(s)
    words = Path(probe.tmp.name)/'words'
    words.write_text('\n'.join('"' + ''.join(f'\\x{c:02x}' for c in t) + '"' for t in TOKENS if t))
    for s in probe.seeds(): probe(s)
    probe.start, probe.runs = time.time(), 0
    def one(data):
        probe(data)
        if time.time() - probe.start > seconds: probe.tell(); probe.tmp.cleanup(); os._exit(0)
    atheris.Setup([sys.argv[0], str(corpus), f'-seed={seed + 1}', '-max_len=65536', f'-dict={words}', '-timeout=300', '-rss_limit_mb=4096', '-verbosity=0', '-print_final_stats=0'], one)
    atheris.Fuzz()

def try_target(name, a): # its counts and findings, from a process of its own
    with tempfile.TemporaryDirectory() as tmp:
        stats = Path(tmp)/'stats.json'
        command = [sys.executable, __file__, '--worker', str(stats), '--target', name, '--seconds', str(a.seconds), '--seed', str(a.seed), '--out', a.out] + ['--plain']*a.plain
        done = subprocess.run(command, capture_output=True, text=True, timeout=a.seconds + 600)
        s = json.loads(stats.read_text()) if stats.is_file() else dict(runs=0, seconds=0, found={})
    if done.returncode: s['found'][f'the process ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:] }'] = 1
    print(f"{name}: {s['runs']:,} runs in {s['seconds']:.0f} s, {len(s['found'])} findings", flush=True)
    for k, n in s['found'].items(): print(f'  {k} ({n:,} times)', flush=True)
    return s

def tried(a, guided): # targets whose row of this commit is there, as long and as guided as is asked for
    from sprec.runs import provenance
    now = provenance()['commit']
    return {r['target'] for r in rows_of(a.rows) if r['commit'] == now and r['seconds'] >= a.seconds and r['guided'] == guided and r['seed'] == a.seed}

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--target', nargs='*', default=list(TARGETS), choices=list(TARGETS))
    ap.add_argument('--seconds', type=float, default=60, help='for each target')
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--out', default='runs/fuzz', help='where findings are kept')
    ap.add_argument('--rows', help='a file for the counts, one JSON line a target, written as each ends; what is there is not done again')
    ap.add_argument('--plain', action='store_true', help='do not use atheris')
    ap.add_argument('--worker', help=argparse.SUPPRESS)
    a = ap.parse_args()
    guided = not a.plain and importlib.util.find_spec('atheris') is not None
    if a.worker:
        probe = Probe(a.target[0], a.out, Path(a.worker))
        (guided_loop if guided else plain_loop)(probe, a.seconds, a.seed)
        probe.tell()
        return
    print('mutations follow coverage (atheris)' if guided else 'mutations follow the answers (atheris is not used)')
    done, total = tried(a, guided) if a.rows else set(), 0
    for name in a.target:
        if name in done: print(f'{name}: its row is there'); continue
        s = try_target(name, a)
        total += len(s['found'])
        row = dict(target=name, runs=s['runs'], seconds=round(s['seconds']), findings=len(s['found']), guided=guided, seed=a.seed)
        if a.rows: keep_rows(a.rows, [row], 'make fuzz', key=['target'])
    sys.exit(total > 0)

if __name__ == '__main__': main()
