"""Whether the same units are found again: by other seeds, in directions and in function."""
