"""Pictures of recordings and listings: a self-contained page, and one map as SVG.

::

    page.page([moments.Source("before.json", recording)])       one HTML file, everything in it
    picture.picture(rows.rows(iomem.loads(text)), title="…")    one SVG

Python works out what there is to say (`data`), the browser only draws it (`assets`).

page          the HTML file
data          everything it shows, as JSON
moments       a recording as a row of moments
facts         how many resources there are, with and without merging; what a crash dump would hold
changes       what became of the resources between two moments
plugged       what requests leave plugged at each device
block_runs    memory blocks, alike neighbours counted
spans         sets of addresses
picture       the map as SVG
maps          which listing it is of
axis          the address space on one line
rows          a listing's lines, equal neighbours counted
kinds         what kind of thing a resource is, by its name
svg, png      drawing
terminal      the same in a terminal
"""
