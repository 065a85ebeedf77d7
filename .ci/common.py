"What the checks and the page runner share."
import os
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parent.parent
bin_dir = root/'.venv/bin'
conf = ConfigParser(delimiters=['='], interpolation=None)
conf.read(root/'settings.ini', encoding='utf-8')
cfg = conf['DEFAULT']

def page_env(**extra):
    "The environment pages run in: offline, no progress bars, our commands first, and SPREC_TEST_THREADS threads a process (one, if it is not set)."
    threads = os.environ.get('SPREC_TEST_THREADS') or '1'
    env = dict(os.environ, TQDM_DISABLE='1', HF_HUB_OFFLINE='1', SPREC_OFFLINE='1', HF_HUB_DISABLE_TELEMETRY='1', TOKENIZERS_PARALLELISM='false',
               OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, PYTHONUNBUFFERED='1', PYTHONDONTWRITEBYTECODE='1')
    env['PATH'] = f"{bin_dir}{os.pathsep}{env['PATH']}"
    if env.get('SPREC_DATA'): env['SPREC_DATA'] = os.path.abspath(env['SPREC_DATA'])
    elif (root/'data').is_dir(): env['SPREC_DATA'] = str(root/'data')
    return env | extra

def pages(base=root):
    "Every notebook that is a page: not a draft (`_name`), not a checkpoint."
    hidden = lambda p: any(part[0] in '._' for part in p.relative_to(base/cfg['nbs_path']).parts)
    return sorted(p for p in (base/cfg['nbs_path']).rglob('*.ipynb') if not hidden(p))

def rows_of(path):
    "The result rows of a file; none where there is no file."
    from sprec.files import read_lines
    return read_lines(path)

def keep_rows(path, rows, command, key=()):
    """Result rows with the command, commit, versions and hardware that made them, for the page of trust.
    With a key, some columns, rows in the file that differ in these stay."""
    import json
    from sprec.runs import provenance
    from sprec.files import beside
    made = dict(command=command) | provenance()
    at = lambda r: [r[k] for k in key]
    stay = [r for r in rows_of(path) if at(r) not in map(at, rows)] if key else []
    with beside(Path(path)) as tmp:
        tmp.write_text(''.join(json.dumps(r, ensure_ascii=False) + '\n' for r in [*stay, *(r | made for r in rows)]), encoding='utf-8')
