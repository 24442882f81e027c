"""Images in and out: headers, orientation, decoding and encoding, and stores (folder, HDF5 file, class tars)."""
