"""One immutable graph for everything that is already built, and the readers into it."""
