"""State on the disk: the journal, snapshots, small files beside it."""
