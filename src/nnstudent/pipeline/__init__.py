"""``run``: the stages in order, presets, rounds."""
