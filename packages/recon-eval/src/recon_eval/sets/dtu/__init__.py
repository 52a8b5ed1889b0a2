"""DTU's photographs and cameras, in the layouts that are in use."""
