"""A long sequence in windows: joined by the views that they share, closed where it comes back."""
