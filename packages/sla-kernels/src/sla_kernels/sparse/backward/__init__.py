"""The gradients of the sparse branch in Triton."""
