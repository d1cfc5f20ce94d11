"""Write files that are whole or not there; read files that anybody may have written, as plain data."""
