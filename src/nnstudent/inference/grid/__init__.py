"""Between the scan's grid and the network's: preprocessing, resampling, restoring."""
