"""Windows of text as vectors."""
