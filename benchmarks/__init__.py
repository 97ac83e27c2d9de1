"""How fast the operators are, beside plain torch and the libraries that people would use instead."""
