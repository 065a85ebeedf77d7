"""What a browser shows: every control of the explorer and of the page with sliders is moved, and the picture has to follow.

usage: ui.py [--shots FOLDER] [--skip-lab]
Needs Chromium and its driver from the system's packages, and selenium (`make test-ui` installs it). The explorer and the audit's report are made from a
small run, opened as files, wide and narrow; JupyterLab is started on a copy of the pages. Anything that the browser's console calls an error fails."""
import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from common import bin_dir, cfg, page_env, root
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

make = """
import sys; from pathlib import Path; from sprec.experiment import run; from sprec.explore import explore; from sprec.audit import audit, save_audit
here = Path(sys.argv[1])
run(['sprec', 'dpo-rn'], 'toy', 'tiny', 0, here/'run', 'demo', ['n_train=256', 'n_valid=20', 'n_test=60', 'sft_epochs=1', 'rounds=1', 'cases_per_round=64', 'hidden=32'])
explore(here/'run', n=40)
lists = Path('tutorials/lists'); save_audit(audit([lists/'ItemKNN.csv', lists/'chat.jsonl'], lists/'log.csv', lists/'test.csv'), here/'audit')
"""

def browser():
    "Chromium without a window, whose console is kept."
    options = webdriver.ChromeOptions()
    for flag in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'): options.add_argument(flag)
    options.binary_location = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome') or ''
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which('chromedriver')))

def errors(page, beside=()):
    "What the console calls an error."
    return [l['message'] for l in page.get_log('browser') if l['level'] == 'SEVERE' and not any(b in l['message'] for b in beside)]

def fits(page):
    "Nothing sticks out to the right."
    return page.execute_script('return document.scrollingElement.scrollWidth <= window.innerWidth + 1')

def move(page, id, key=Keys.ARROW_RIGHT):
    "Press a key on a control, and say whether the world's numbers, or the person, changed."
    seen = lambda: page.execute_script("return ['effects', 'lists', 'answers'].map(i => document.getElementById(i).innerText).join('|') + document.getElementById('policy').innerHTML")
    before = seen()
    page.find_element(By.ID, id).send_keys(key)
    return seen() != before

def look_at_explorer(page, file, shots):
    "Every control is moved, wide and narrow; the numbers are those of the formulas."
    for width, height in ((1200, 1000), (400, 900)):
        page.set_window_size(width, height)
        page.get(file.as_uri())
        assert fits(page), f'the explorer is wider than {width} pixels'
        for id in ('who', 'after', 'bias', 'beta', 'power', 'soul', 'tau'):
            assert move(page, id, Keys.ENTER if id == 'after' else Keys.ARROW_RIGHT), f'moving {id} changes nothing'
        assert move(page, 'kind', Keys.ARROW_DOWN) and move(page, 'rounds'), 'self-play changes nothing'
        page.save_screenshot(str(shots/f'explorer-{width}.png'))
    number = "return +[...document.querySelectorAll('#effects td')].find(td => td.dataset.name === 'true: KL from the truth, nats').innerText"
    assert page.execute_script(number) == 0, 'the truth is not at distance 0 from itself'
    assert not errors(page), errors(page)

def look_at_report(page, file, shots, name):
    for width in (1200, 400):
        page.set_window_size(width, 900)
        page.get(file.as_uri())
        assert fits(page), f'the report is wider than {width} pixels'
        assert page.find_elements(By.TAG_NAME, 'table') and page.execute_script('return [...document.images].every(i => i.naturalWidth > 0)')
        page.save_screenshot(str(shots/f'{name}-{width}.png'))
    assert not errors(page), errors(page)

def lab(nbs, port=8931):
    "JupyterLab on a copy of the pages."
    flags = ['--no-browser', f'--ServerApp.port={port}', '--IdentityProvider.token=', '--ServerApp.password=', '--allow-root', f'--ServerApp.root_dir={nbs}']
    return subprocess.Popen([bin_dir/'jupyter', 'lab', *flags], env=page_env(PYTHONPATH=str(root)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), f'http://localhost:{port}'

def look_at_sliders(page, url, shots):
    "Page 00: run all, move both sliders, and the picture below has to change."
    page.set_window_size(1400, 1000)
    wait = WebDriverWait(page, 300)
    for _ in range(60):
        try: page.get(f'{url}/lab/tree/00_theory.ipynb?reset'); break
        except Exception: time.sleep(1)
    wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, '.jp-NotebookPanel .jp-Cell'))
    time.sleep(5)
    page.execute_script("document.querySelector('.jp-NotebookPanel .jp-Cell').click()")
    for name in ('Run', 'Run All Cells'):
        wait.until(lambda d: [e for e in d.find_elements(By.XPATH, f"//li[.//div[text()='{name}']] | //div[text()='{name}']") if e.is_displayed()])[-1].click()
    wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, '.widget-slider .noUi-handle'))
    picture = lambda: page.execute_script("const w = document.querySelector('.widget-interact'); w.scrollIntoView(); const i = w.querySelector('img'); return i && i.src")
    wait.until(lambda d: picture())
    idle = lambda d: '| Idle' in d.find_element(By.TAG_NAME, 'body').text
    wait.until(idle)                                          # else the first picture comes late and passes for a change
    for n in (0, 1):
        before = picture()
        handle = page.find_elements(By.CSS_SELECTOR, '.widget-interact .noUi-handle')[n]
        for _ in range(5): handle.send_keys(Keys.ARROW_RIGHT)
        WebDriverWait(page, 60).until(lambda d: picture() not in (None, before), f'slider {n} changes nothing')
    page.save_screenshot(str(shots/'sliders.png'))
    assert 'RuntimeError' not in page.execute_script("return document.querySelector('.widget-interact').innerText")

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--shots', help='a folder for screenshots')
    parser.add_argument('--skip-lab', action='store_true', help='without JupyterLab')
    args = parser.parse_args()
    nbs = root/cfg['nbs_path']
    with tempfile.TemporaryDirectory(prefix='sprec-ui-') as tmp:
        tmp = Path(tmp)
        shots = Path(args.shots) if args.shots else tmp
        shots.mkdir(parents=True, exist_ok=True)
        subprocess.run([bin_dir/'python', '-c', make, tmp], check=True, cwd=nbs, env=page_env(PYTHONPATH=str(root)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        page = browser()
        try:
            look_at_explorer(page, tmp/'run'/'explorer.html', shots); print('ok    explorer')
            look_at_report(page, tmp/'audit'/'report.html', shots, 'audit'); print('ok    report of an audit')
            look_at_report(page, tmp/'run'/'report.html', shots, 'run'); print('ok    report of a run')
            if args.skip_lab: return
            shutil.copytree(nbs, tmp/'nbs')
            server, url = lab(tmp/'nbs')
            try: look_at_sliders(page, url, shots); print('ok    sliders of 00_theory in JupyterLab')
            finally: server.terminate()
        finally: page.quit()

if __name__ == '__main__': main()
