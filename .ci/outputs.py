"""Stored outputs of a page against those of a fresh run.

Words must be the same. A number that is printed with a point or an exponent may differ by one unit of its last digit or by 2%, whichever is
more: rounding and short trainings differ by less from one processor to another, results that were forgotten by more. What is below 1e-9 is
rounding noise and counts as zero. Whole numbers must be the same. Of a figure, its line of text is compared (see figures.py); pixels are not.
A cell may be left out with `#| varies: reason`; the reason is needed."""
import html
import re

number = re.compile(r'(?<![\w.])[-+−]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?%?(?![\w])', re.I)
within, noise = .02, 1e-9

def plain(text):
    "Text without markup, colours, addresses and layout."
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]|\r', ' ', text)
    text = re.sub(r'\b0x[0-9a-fA-F]{6,}\b', '0x', text)
    return ' '.join(re.sub(r'[|]|-{3,}|:-+:?|-+:', ' ', text).split())

def from_html(text):
    "The text of a table."
    return html.unescape(re.sub(r'<[^>]*>', ' ', re.sub(r'<(style|script).*?</\1>', ' ', text, flags=re.S)))

def texts(outputs):
    "What a cell prints and what it shows, as two lists of texts."
    joined = lambda t: t if isinstance(t, str) else ''.join(t)
    printed = plain(''.join(joined(o['text']) for o in outputs if o['output_type'] == 'stream' and o['name'] == 'stdout'))
    shown = []
    for o in outputs:
        data = o.get('data', {})
        if 'text/markdown' in data: shown.append(plain(joined(data['text/markdown'])))
        elif 'text/html' in data: shown.append(plain(from_html(joined(data['text/html']))))
        elif 'text/plain' in data: shown.append(plain(joined(data['text/plain'])))
    shown.sort(key=lambda t: bool(re.match(r'<\w+ size [\dx.]+ with', t)))      # figures last: shells show them before or after a value
    return ([printed] if printed else []) + shown

def same_number(a, b):
    "Two printed numbers that may stand for the same."
    plain_number = lambda s: s.replace(',', '').replace('−', '-').rstrip('%').lower()
    a, b = plain_number(a), plain_number(b)
    if a == b: return True
    if not any(c in a + b for c in '.e'): return False
    unit = lambda s: 10.**(int(s.partition('e')[2] or 0) - len(s.partition('e')[0].partition('.')[2]))
    x, y = float(a), float(b)
    return abs(x - y) <= max(within*max(abs(x), abs(y)), 1.001*max(unit(a), unit(b)), noise)

def differs(old, new):
    "'' if two texts agree, else the first place where they do not."
    if re.fullmatch(r'<\w+ size [\dx.]+ with \d+ Axes>', old): new = re.sub(r'^(<\w+ size [^:>]*).*', r'\1>', new)   # stored without its data
    a, b, i, j = list(number.finditer(old)), list(number.finditer(new)), 0, 0
    for m, n in zip(a, b):
        if old[i:m.start()] != new[j:n.start()]: break
        if not same_number(m[0], n[0]): return f'stored {context(old, m.start())}, a fresh run gives {context(new, n.start())}'
        i, j = m.end(), n.end()
    at = next((k for k, (c, d) in enumerate(zip(old[i:], new[j:])) if c != d), min(len(old) - i, len(new) - j))
    if old[i:] == new[j:]: return ''
    return f'stored {context(old, i + at)}, a fresh run gives {context(new, j + at)}'

def context(text, at): # a few words around a place
    return repr(text[max(0, at - 30):at + 30])

def compare(cells, fresh):
    "(cell id, what differs) of a page's stored cells and a run's outputs by id; a cell that was not run is left out."
    for cell in cells:
        if cell['cell_type'] != 'code' or cell['id'] not in fresh: continue
        source = ''.join(cell['source'])
        new = texts(fresh[cell['id']])
        if any('skipped:' in t for t in new): return                          # raw data are not at hand: what follows shows other things
        varies = re.search(r'^\s*#\s*\|\s*varies\s*:?[ \t]*(.*)$', source, re.M)
        if varies and not varies[1].strip(): yield cell['id'], 'has `#| varies` without a reason; write `#| varies: why`'
        if varies: continue
        old = texts(cell['outputs'])
        if len(old) != len(new): yield cell['id'], f'stores {len(old)} outputs, a fresh run gives {len(new)} ({context(" / ".join(new or old), 0)})'
        else: yield from ((cell['id'], d) for o, n in zip(old, new) if (d := differs(o, n)))
