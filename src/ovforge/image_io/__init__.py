"""Images in and out: headers, orientation, decoding and encoding, and stores (folder, HDF5 file, class tars)."""

from ovforge.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "ImageReader": "hdf5",
        "ImageSource": "hdf5",
        "ImageStore": "store",
        "ImageWriter": "hdf5",
        "Location": "hdf5",
        "TarStore": "tar_store",
        "apply_orientation": "codec",
        "check_decodable": "codec",
        "copy_images": "hdf5",
        "decode_as_annotated": "codec",
        "decode_rgb": "codec",
        "encode_jpeg": "codec",
        "exists": "read_file",
        "has_image_suffix": "store",
        "is_folder": "read_file",
        "is_hdf5": "hdf5",
        "is_utf8": "store",
        "open_image_store": "store",
        "read_header": "header",
        "read_header_of_file": "header",
        "read_image_file": "read_file",
        "read_orientation": "header",
        "read_size_of_file": "header",
        "require_listed_images": "listed_images",
        "stored_size": "codec",
    },
)
