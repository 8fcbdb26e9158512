"""Networks beside nnU-Net's plain U-Net.

They are torch modules that the plans name by dotted path; their arguments are plain data.
"""
