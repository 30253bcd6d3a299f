"""Table and images on disk -> a prepared dataset."""
