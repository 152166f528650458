"""Sound files: what they are and say of themselves, their covers, and the library of tracks that comes of them."""
