"""Connection to a PACS: studies come by DICOMweb or C-STORE, DICOM-SEG is returned."""
