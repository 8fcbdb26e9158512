"""What becomes of class scores: labels, their correction, and what is said of each organ."""
