"""Pictures of recordings and listings: a self-contained page, and one map as SVG.

::

    page([Source("before.json", recording)])       one HTML file, everything in it
    picture(rows(iomem.loads(text)), title="…")    one SVG

Python works out what there is to say (`data`), the browser only draws it (`assets`).
"""

from virtiomem.report.data import page_data
from virtiomem.report.moments import Source
from virtiomem.report.page import page, page_json
from virtiomem.report.picture import picture
from virtiomem.report.rows import Row, rows

__all__ = ["Row", "Source", "page", "page_data", "page_json", "picture", "rows"]
