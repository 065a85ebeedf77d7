"""Coverage inside the process of a page; used by runner.py where COVERAGE_PROCESS_START is set.

A page does not import its own module: it runs the module's cells. So they are compiled as the lines of the module that they became."""
import ast
import contextlib
import os
import re
import coverage

def places(lib):
    "Cell id to (file of the library, lines above the cell's code)."
    out = {}
    for f in lib.rglob('*.py'):
        for n, line in enumerate(f.read_text(encoding='utf-8').splitlines(), 1):
            if m := re.match(r'# %% \S+\.ipynb #(\S+)$', line): out[m[1]] = str(f), n
    return out

class Placed(ast.NodeTransformer):
    "Gives a cell's code the file and the lines of the module."
    def __init__(self, shell, lib):
        self.known, self.at, self.usual = places(lib), None, shell.compile.cache
        shell.compile.cache = self.name
        shell.ast_transformers.append(self)
    def name(self, code, number=0, raw_code=None): return self.at[0] if self.at else self.usual(code, number, raw_code)
    def visit(self, node): return ast.increment_lineno(node, self.at[1]) if self.at else node
    def cell(self, id): self.at = self.known.get(id)

@contextlib.contextmanager
def cover():
    c = coverage.Coverage(config_file=os.environ['COVERAGE_PROCESS_START'], data_suffix=True)
    c.start()
    try: yield
    finally:
        c.stop()
        c.save()
