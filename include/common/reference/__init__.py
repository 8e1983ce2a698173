"""Reference data: files that people write, checked, and the versioned tables that they become."""
