"""Other forms of the same float network that integer kernels take, one a file."""
