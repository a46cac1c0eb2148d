"""The verbs that show startups, past and present.

sources.py says where the events come from, command.py what each verb does with them. analysis/
computes, render/ draws. feed.py says when a startup has changed.
"""
