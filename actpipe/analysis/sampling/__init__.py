"""Windows of text drawn with known probabilities, and estimates that weight them."""
