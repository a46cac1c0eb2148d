"""The verb ``web``: the startup as a page that stays up to date.

``settings`` reads the options. ``access`` says who may ask, and is pure. ``startups`` and ``units``
answer from what the coordinator says, in threads; ``turns`` shares that work, and ``answers`` is
what an answer is, for all who ask for the same.
``changes`` says when to ask again. ``app`` connects them to paths, and is the only module that
knows Starlette; ``serving``, the only one that knows uvicorn, serves it. Both come with the extra
``unitsync[web]``. The page itself is drawn in render/.
"""
