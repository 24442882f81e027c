"""Looking at results: local, read-only pages over published outputs. Needs the extra `viewer`, but for nothing else."""
