"""What is said of a wheel and by whom: statements, signatures, and the gate that judges them."""
