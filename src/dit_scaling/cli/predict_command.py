"""``predict``: what a budget buys, by the laws of a finished study."""
