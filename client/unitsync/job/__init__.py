"""What a user asks of the log of a job itself: all of its units, and the log's making and end.

Loaded only by the verbs that do so. It speaks to the log as a coordinator does (unitsyncd.hosts),
with the permissions of this host. Importing it raises UsageError if the library for that is not
installed.
"""

from unitsyncd.hosts.settings import check_library

check_library()
