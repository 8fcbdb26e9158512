"""What a network costs, and which network fits a budget."""
