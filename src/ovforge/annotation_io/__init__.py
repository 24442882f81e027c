"""Annotation files of any size as raw records: reading, checking, editing, writing.

Steps open a file by `open_annotations` or `read_table`, which check what the step uses; they edit records by
`edit_record`, or many of them by `EditedRecords`, and write a file by `write_annotation_file`.
"""

from ovforge.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "AnnotationFile": "annotation_file",
        "Annotations": "door",
        "EditedRecords": "edited_records",
        "Fields": "schema",
        "RecordIndex": "record_index",
        "RecordTable": "annotation_file",
        "Records": "annotation_writer",
        "Rle": "segmentation",
        "Section": "annotation_writer",
        "UnusableMaskError": "segmentation",
        "bare_name": "image_names",
        "categories_of": "door",
        "decode_json": "json_text",
        "decode_record": "record_edit",
        "degenerate_polygons": "segmentation",
        "edit_record": "record_edit",
        "find_positions": "ordering",
        "needed": "schema",
        "open_annotations": "door",
        "open_captions": "door",
        "opening_problem": "json_text",
        "rasterise": "segmentation",
        "raw_fields": "record_edit",
        "read_records": "annotation_file",
        "read_table": "door",
        "read_value": "annotation_file",
        "record_decoder": "schema",
        "stable_order": "ordering",
        "take_apart": "record_edit",
        "write_annotation_file": "annotation_writer",
    },
)
