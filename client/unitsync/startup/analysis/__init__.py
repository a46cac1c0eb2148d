"""Looking back at startups: pure functions from the coordinator's facts to values.

- events.py: from the records of the journal to events
- startup.py: from events to a Startup (values.py): what ran when, and what it waited for
- schedule.py: computes a startup anew, with other durations, edges or limits
- critical_path.py, blame.py, what_if.py (questions.py reads what is typed), compare.py: what
  people ask about it

Nothing in here reads, prints or knows the time. No verb that a script calls loads it.
"""
