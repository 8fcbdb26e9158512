"""What one does with label maps that exist, whoever made them: measure, rename, merge."""
