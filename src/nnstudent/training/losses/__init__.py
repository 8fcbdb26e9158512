"""What a student is punished for."""
