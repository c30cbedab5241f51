"""How the objects of a library are told apart, one module a package."""
