"""Kills at random moments: the harness, and the tasks that it kills."""
