"""Files of other people's, fetched safely: which hosts may be asked, what their answers mean, and where bytes go."""
