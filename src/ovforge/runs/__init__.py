"""Runs any task, shard by shard, so that a kill loses little and a resume loses nothing. Knows no data set."""
