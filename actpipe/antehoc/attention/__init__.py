"""Logits → attention weights: softmax and the maps that can answer exactly zero. One map a file; this list is what is known."""
