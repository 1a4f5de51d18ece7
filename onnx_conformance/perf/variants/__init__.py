"""Which variant of a file to ship: verdict, size and speed."""
