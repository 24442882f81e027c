"""Typed records of the field's formats, and of what steps say about themselves."""
