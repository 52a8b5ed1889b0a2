"""A light student as a value: its recipe, how it is made, kept, loaded and deployed."""
