"""Any number of views in a budget of memory."""
