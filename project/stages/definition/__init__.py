"""What stages are: read from files, checked, put in order; and what locks say of them."""
