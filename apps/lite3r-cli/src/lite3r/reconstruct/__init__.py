"""What `lite3r reconstruct` does: photos and cameras in, a folder of exports out."""
