"""`audit.html`: what `prepare` found in the images and what it did, for readers who have never seen the tool."""
