"""A trained network on images: the classifier, its engines, a competition's submission."""
