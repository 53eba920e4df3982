"""What a model is trained on: tokens → batches with labels. One task a file; this list is what is known."""
