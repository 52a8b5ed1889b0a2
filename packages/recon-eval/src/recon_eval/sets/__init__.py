"""Data sets on disk, each read into a `Scene`; `recon_eval.data` lists them."""
