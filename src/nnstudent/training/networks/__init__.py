"""Networks beside nnU-Net's plain U-Net, named by dotted path in the plans: torch modules, whose arguments are plain data."""
