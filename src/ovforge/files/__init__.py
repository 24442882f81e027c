"""Files of every kind: published atomically, read by byte ranges, archives, pickles, and which process wrote what."""
