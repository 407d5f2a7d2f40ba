"""Whether a source is silent, too slow or slower than others, and breaking it off: one watch for each body."""
