"""The verbs that show startups, past and present: what they are (verbs.py), where the events come
from (sources.py), and what each does with them (command.py). analysis/ computes, render/ draws.
"""
