"""model + text → how sparse its activations are, by layer, position and task. `measure(SparsityConfig(...))` is the stage."""
