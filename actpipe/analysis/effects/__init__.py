"""What units do in the model: fidelity, ablation and its estimate, logits, steering, patching, erasure.

measure.py      one set of units, everything that needs no task
together.py     several hooks replaced at once
"""
