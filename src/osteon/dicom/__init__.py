"""DICOM in and out. Nothing is imported here: pydicom costs 0.2 s, which a raster picture need not pay."""
