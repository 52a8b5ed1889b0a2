"""What is read in two models, and how it is compared."""
