"""Near-duplicates: other files of the same image, found by perceptual hashes and confirmed on pixels."""
