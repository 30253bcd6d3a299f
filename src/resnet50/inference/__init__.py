"""Run a trained network on images: the classifier, its engines, batches of files, and a competition's submission."""
