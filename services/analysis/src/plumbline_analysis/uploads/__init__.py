"""History in: files of points, stored slice by slice."""
