"""The concept bank: labels that rules give to tokens, in families."""
