"""Deployed models as files, and the names that other programs expect in them."""
