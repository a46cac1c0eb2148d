from unitsync.testing import coordinator as coordinator
