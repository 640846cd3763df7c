"""What the user gets: files, measured and proved; read again, verified, exported anew."""
