"""Class scores, labels, their correction, and facts about each organ."""
