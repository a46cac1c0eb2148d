"""From what the analysis found to text, pictures and files.

- rows.py: what every picture of a startup shows: a row for each unit, in parts
- times.py: how long something took, and the marks of a time axis
- palette.py: the colours of all of them
- bars.py, tables.py: the timeline, and all else, as lines for a terminal; lettering.py: what
  these lines have in common
- svg.py, html.py: the timeline as a picture, and as a page to look around in. Of that, page.* in
  page/ draw, and live.* and unit.js feed it where a server does
- trace.py: the timeline for Perfetto and chrome://tracing
- graph.py, layout.py: who waits for whom, as DOT, Mermaid and SVG

They take the values of analysis/values.py and return text. Names and reasons come from outside:
each renderer escapes them for its own form. Only ``graph.svg`` looks beyond its arguments, for a
program or library that lays out the picture.
"""
