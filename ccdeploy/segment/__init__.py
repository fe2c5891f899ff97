"""From pictures, videos and cameras to label maps and overlays, under the originals' names.

`sources.py` says what is segmented and under which names, `passing.py` how pictures pass, `loop.py` runs it,
`frames.py` does so for videos, `sinks.py` writes what comes out, `results.py` is the record of it all.
"""
