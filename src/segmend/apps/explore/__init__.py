"""``segmend explore``: a page about a box of a data set."""
