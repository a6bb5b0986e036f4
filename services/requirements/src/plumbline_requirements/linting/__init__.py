"""What is weak in what people wrote, told as they write it. Pure."""
