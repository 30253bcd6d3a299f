"""From a table and images on disk to a prepared dataset."""
