"""What runs inside the server: the models of Triton's Python backend, and the plain steps that they take."""
