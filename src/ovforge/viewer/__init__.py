"""A read-only local web page over published outputs."""
