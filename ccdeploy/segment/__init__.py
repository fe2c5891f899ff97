"""From pictures, videos and cameras to label maps and overlays, under the originals' names.

`sources.py` says what is segmented and under which names, `passing.py` how pictures pass, `loop.py` runs it,
`answering.py` is what finds labels: `network.py` with an artefact on this machine, `served.py` with a server.
`frames.py` does so for videos, `sinks.py` writes what comes out, `journal.py` lets a run be resumed, `results.py` is
the record of it all.
"""
