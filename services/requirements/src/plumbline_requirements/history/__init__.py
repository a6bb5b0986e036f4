"""History: what each revision said, who made it and why, and what lies between two."""
