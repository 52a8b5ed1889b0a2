"""The parts that the transformers of both families are made of."""
