"""Sentences with numbers, and what carries each: `nbs/results/claims.jsonl`.

usage: claims.py [--write]
A line of the file is a sentence of the README or of a page of results: its page, the files of rows it rests on, and its test, the cells whose
checks or outputs show its numbers ('page:cell', of its own page or of one that its paragraph links to), or what was settled beforehand (`holds`,
an expression that must be true and shows the number), or the place of another text it reports (`source`).
`make test` compares outputs with a fresh run and runs the checks. That a number stands in a named cell does not prove that the cell speaks of the
same thing: a person reads that; the check sees to it that no sentence is without a cell, and that none is left behind when numbers move.
Whole numbers below 13, levels of intervals, years, names and formulas are not asked about. --write fills the file anew; what nothing carries is
said, and is to be mended in the page or given a `holds`."""
import argparse
import ast
import importlib
import json
import re
import sys
from common import cfg, root

scope = re.compile(r'index|04_findings|4[2-5][a-z]?_\w+')
where = 'results/claims.jsonl'
number = re.compile(r'(?<![\w.])([+\-−–]?)((?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)(?:e[+-]?\d+)?)(%|x|k|ms|pp)?(?!\w)')
labels = 'tables? figures? sections? eqs?\\. theorem appendix points? pages? rounds? seeds? worlds? draws? python'
not_asked = re.compile('|'.join([
    rf"\b(?:{'|'.join(labels.split())}) \d{{1,2}}(?![\d.]*\d)(?:(?:,| and| to) \d{{1,2}}(?![\d.]*\d))*",   # Table 1, seeds 0 to 2
    r'arXiv \d+\.\d+', r'[Ss]ections? \d(?:\.\d)+', r'Python \d\.\d+', r'\b[A-Za-z]+\d*-\d[\w.]*(?:-\w+)*', r'\w*@\d+',          # Llama-3.2-1B, HR@5
    r'(?<![\d.,])(?:19|20)\d\d(?![\d.,]\d|%| (?:training|test|validation|cases|of))',                                              # years
    r'(?<![\d.])9[059]%(?= (?:confidence |simultaneous )?intervals?)', r'(?<=\()\d(?:\.\d)+(?=\))', r'\b\d(?:\.\d){2,}']))          # levels, sections

def prose(text):
    "Markdown without code, formulas, tables, headings and addresses."
    for junk in (r'```.*?```', r'\$\$.*?\$\$'): text = re.sub(junk, ' ', text, flags=re.S)
    text = re.sub(r'^(?:\||#).*$', '', text, flags=re.M)
    text = re.sub(r'\$[^$\n]*\$|`[^`]*`|https?://\S+', ' ', text)
    return re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text).replace('*', '')

def sentences(text):
    "The sentences of a markdown cell, as plain text."
    for block in re.split(r'\n\s*\n|\n(?=\s*(?:[-*>]|\d\.) )', prose(text)):
        yield from (s for s in re.split(r'(?<=[.!?:;])\s+(?=[A-Z*(“"])', ' '.join(block.split()).lstrip('-*> ')) if s)

def numbers(sentence):
    "(value, decimals, kind) of each number that says something; kind is '%' or ''."
    plain = re.sub(r'(\d) (to|and|or) ([\d.]+)%', r'\1% \2 \3%', not_asked.sub(' ', sentence))      # 17 to 46%
    for _, digits, unit in number.findall(plain):
        digits = digits.replace(',', '')
        places = len(digits.partition('.')[2])
        if places or unit or float(digits) >= 13: yield float(digits), places, unit if unit == '%' else ''

def asserted(source):
    "Numbers that a cell's checks name: in an assert or a call of test_..., but for tolerances."
    try: tree = ast.parse(re.sub(r'^[ \t]*[%!].*$', '', source, flags=re.M))
    except SyntaxError: return
    checks = [n for n in ast.walk(tree) if isinstance(n, ast.Assert) or isinstance(n, ast.Call) and getattr(n.func, 'id', '').startswith('test_')]
    for check in checks:
        loose = {id(x) for k in ast.walk(check) if isinstance(k, ast.keyword) and k.arg == 'eps' for x in ast.walk(k)}
        for x in ast.walk(check):
            if isinstance(x, ast.Constant) and id(x) not in loose:
                if isinstance(x.value, str): yield from written(x.value)
                elif isinstance(x.value, (int, float)) and not isinstance(x.value, bool): yield abs(float(x.value)), ''

def written(text):
    "(value, kind) of the numbers of a text."
    for _, digits, unit in number.findall(text): yield float(digits.replace(',', '')), unit if unit == '%' else ''

def told(cell):
    "What a code cell checks or shows, or how it made its rows."
    out = list(asserted(cell['source']))
    if '#| slow' in cell['source']: out += written(cell['source'])
    for o in cell.get('outputs', []): out += written('\n'.join([o.get('text', ''), *(o.get('data', {}).get(k, '') for k in ('text/plain', 'text/markdown'))]))
    return out

def carries(values, n):
    "Whether a number, rounded as the sentence rounds it, is among some; a share stands for its percentage, a bare number does not."
    value, places, kind = n
    near = .5*10.**-places + 1e-9
    if kind == '%': return any(abs((x if k else 100*x) - value) <= near for x, k in values)
    return any(abs(x - value) <= near and not k for x, k in values)

def read(path):
    "The cells of a page, their text in one piece."
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    def whole(x): return ''.join(x) if isinstance(x, list) else x
    for c in cells:
        c['source'] = whole(c['source'])
        for o in c.get('outputs', []):
            if 'text' in o: o['text'] = whole(o['text'])
            o['data'] = {k: whole(v) for k, v in o.get('data', {}).items() if k.startswith('text/')}
    return cells

def book(nbs):
    "Pages in scope: name to cells."
    return {p.stem: read(p) for p in sorted(nbs.glob('*.ipynb')) if scope.fullmatch(p.stem)}

def asked(pages):
    "(page, sentence, its numbers, pages that its cell links to) of every sentence that has some."
    for page, cells in pages.items():
        for c in cells:
            if c['cell_type'] != 'markdown': continue
            linked = [p for p in re.findall(r'\]\((\w+)\.ipynb', c['source']) if p in pages]
            for s in sentences(c['source']):
                if found := list(numbers(s)): yield page, s, found, linked

def proof(pages, page, found, linked=()):
    "Cells that carry the numbers, as few as can be and the page's own first, and the first number that none carries."
    test, left = [], list(found)
    for p in dict.fromkeys((page, *linked)):
        values = {f"{p}:{c['id']}": told(c) for c in pages[p] if c['cell_type'] == 'code'}
        while left:
            most = {cell: [n for n in left if carries(v, n)] for cell, v in values.items()}
            best = max(most, key=lambda cell: len(most[cell]))
            if not most[best]: break
            test.append(best)
            left = [n for n in left if n not in most[best]]
    return test, left[0] if left else None

def files_of(pages, test):
    "The files of rows that the pages of some cells read, up to these cells."
    out = []
    for t in test:
        page, cell = t.split(':')
        for c in pages[page]:
            named = re.findall(r'results/[\w.*{}-]+\.jsonl', c['source']) if c['cell_type'] == 'code' else []
            out += [re.sub(r'\{\w*\}', '*', f) for f in named]
            if c['id'] == cell: break
    return sorted(set(out))

def write(pages, old):
    "Every claim anew; those with `holds` or `source` stay."
    kept = {(c['page'], c['sentence']): c for c in old if 'holds' in c or 'source' in c}
    for page, sentence, found, linked in asked(pages):
        if (page, sentence) in kept: yield kept[page, sentence]; continue
        test, lacks = proof(pages, page, found, linked)
        if lacks: print(f'{page}: nothing carries {lacks[0]:g} of: {sentence}')
        yield dict(page=page, sentence=sentence, rows=files_of(pages, test), test=test)

def problems(nbs):
    "What is wrong: a sentence that is not in the file, or one whose cells do not show its numbers."
    pages, path = book(nbs), nbs/where
    lines = [json.loads(l) for l in path.read_text(encoding='utf-8').splitlines()] if path.exists() else []
    there = {(c['page'], c['sentence']): c for c in lines}
    cells = {f"{p}:{c['id']}": c for p, cs in pages.items() for c in cs}
    mend = 'mend the sentence or what carries it, then `python .ci/claims.py --write`'
    wanted = list(asked(pages))
    for page, sentence, found, linked in wanted:
        claim = there.get((page, sentence))
        if claim is None: yield f'{page} says what {where} does not hold: "{sentence[:100]}"; {mend}'; continue
        if 'source' in claim: continue
        values = [x for t in claim['test'] if t in cells for x in told(cells[t])] + list(written(claim.get('holds', '')))
        away = [t for t in claim['test'] if t.partition(':')[0] not in (page, *linked)]
        if away: yield f'{page}: {away[0]} is no page that the paragraph of "{sentence[:100]}" links to; {mend}'
        lacks = [n[0] for n in found if not carries(values, n)]
        if lacks: yield f'{page}: nothing named carries {lacks[0]:g} of "{sentence[:100]}"; {mend}'
        yield from (f'{nbs.name}/{r} is not there, on which {page} rests' for r in claim['rows'] if not list(nbs.glob(r)))
    for key in there.keys() - {(p, s) for p, s, *_ in wanted}: yield f'{key[0]} no longer says "{key[1][:100]}"; {mend}'

def of(name):
    "What a dotted name stands for, such as sprec.recipes.PRESETS."
    module, _, attribute = name.rpartition('.')
    return getattr(importlib.import_module(module), attribute)

def settled(nbs):
    "Claims that rest on what was settled beforehand, where that is not so."
    for line in (nbs/where).read_text(encoding='utf-8').splitlines():
        claim = json.loads(line)
        if 'holds' in claim and not eval(claim['holds'], dict(of=of, rows=lambda f: [json.loads(l) for l in (nbs/f).read_text(encoding='utf-8').splitlines()])): yield f"{claim['page']}: {claim['holds']} is false; mend \"{claim['sentence'][:100]}\""   # our own file, as code is

def main():
    parser = argparse.ArgumentParser(description='Sentences with numbers, and what carries each.')
    parser.add_argument('--write', action='store_true', help='fill the file anew')
    nbs = root/cfg['nbs_path']
    if parser.parse_args().write:
        old = [json.loads(l) for l in (nbs/where).read_text(encoding='utf-8').splitlines()] if (nbs/where).exists() else []
        text = ''.join(json.dumps(c, ensure_ascii=False) + '\n' for c in write(book(nbs), old))
        (nbs/where).write_text(text, encoding='utf-8')
    bad = [*problems(nbs), *settled(nbs)]
    for line in bad: print(line)
    sys.exit(bool(bad))

if __name__ == '__main__': main()
