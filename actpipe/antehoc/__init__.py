"""Language models that are sparse by training, and their dense twins. One architecture a file; this list is what is known."""
