"""The bundle that `segment` runs: network, preprocessing, labels and card, in one folder."""
