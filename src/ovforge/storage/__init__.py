"""Bytes in and out: atomic files, annotation files of any size, stores of pictures, picture headers."""
