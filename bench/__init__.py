"""What unitsync costs: scenarios, each in a process of its own, and their results.

``python -m bench --help`` says how to run them; docs/contributing/benchmarks.md says what they
measure. A new scenario is a new file in bench/scenarios/ with a ``measure(bench)`` function.
"""
