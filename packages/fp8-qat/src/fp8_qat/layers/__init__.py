"""The linear layer in its five states, which layers take part, and where scales come from."""
