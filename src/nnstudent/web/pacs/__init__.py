"""Connected to a hospital's PACS: studies fetched over DICOMweb or received by C-STORE, and the DICOM-SEG given back."""
