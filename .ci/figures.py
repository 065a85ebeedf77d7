"""A figure's line of text says what is drawn: how many numbers, their mean and their spread. So figures can be compared without their pixels."""
import math
import numpy as np

def drawn(ax):
    "All numbers an axes shows: of lines, bars, points, areas and images."
    for line in ax.lines: yield line.get_xydata()
    for bar in ax.patches: yield bar.get_xy() if hasattr(bar, 'get_xy') else ()
    for bar in ax.patches: yield (bar.get_width(), bar.get_height()) if hasattr(bar, 'get_width') else ()
    for c in ax.collections:
        points = np.ma.filled(np.ma.asarray(c.get_offsets(), float), np.nan)
        if len(points) > 1: yield points
        elif c.get_array() is not None: yield np.ma.filled(np.ma.asarray(c.get_array(), float), np.nan)
        else: yield from (p.vertices for p in c.get_paths())
    for image in ax.images: yield np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)

def summary(ax):
    "`numbers 120 mean 0.513 spread 0.211`: three digits of the spread, and the mean as exactly."
    v = np.concatenate([np.zeros(0), *(np.asarray(d, float).ravel() for d in drawn(ax))])
    v = v[np.isfinite(v)]
    if not len(v): return ''
    digits = max(0, 2 - math.floor(math.log10(v.std()))) if v.std() > 0 else 3
    return f'numbers {len(v)} mean {v.mean():.{digits}f} spread {v.std():.{digits}f}'

def describe(fig, p, cycle):
    "The usual line, and what the figure shows."
    w, h = fig.get_size_inches()*fig.dpi
    what = '; '.join(filter(None, map(summary, fig.axes)))
    p.text(f'<{type(fig).__name__} size {w:g}x{h:g} with {len(fig.axes)} Axes' + (f': {what}>' if what else '>'))

def install(shell):
    "Use `describe` in an IPython shell."
    shell.display_formatter.formatters['text/plain'].for_type_by_name('matplotlib.figure', 'Figure', describe)
