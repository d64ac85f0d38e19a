"""How a lab host's disk, kernel and guest are built. Every file here is part of the recipe's hash."""
