"""What `segment` runs: the network, its preprocessing, its labels and its card, in one folder."""
