"""Rules: how labels pass through each family of operations, one family a file."""
