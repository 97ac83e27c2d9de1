"""Tables, files, pictures and progress of a comparison."""
