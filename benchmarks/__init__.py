"""How fast this project is, each figure beside a peer from the package registry in the same run.

    python -m benchmarks --list                # the rows
    python -m benchmarks --only frechet        # those whose name has this in it
    python -m benchmarks                       # all, compared with baseline.json (make bench)
    python -m benchmarks --write-baseline      # all, kept as the new baseline
    python -m benchmarks.growth                # how cost grows, as CSV and figure

A module has rows of one topic; `row.py` is their contract, `registry.py` names them all, `harness.py` measures one.
"""
