"""What units do in the model: fidelity of a splice, ablation, steering, patching, erasure."""
