"""Annotation files of any size as raw records: reading, checking, editing, writing."""
