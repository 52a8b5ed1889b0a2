"""Every Triton kernel, compiled for GPUs that need not be here, and what its machine code says."""
