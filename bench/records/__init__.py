"""What a run writes and everything else reads: records, the run folder, files that survive a crash."""
