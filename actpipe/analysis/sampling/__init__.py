"""Which windows of text stand for a unit, with what probability each was drawn, and estimates from them."""
