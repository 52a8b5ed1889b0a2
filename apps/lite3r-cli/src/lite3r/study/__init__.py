"""What each part of a recipe is worth, and the cheapest recipe for given weights and photos."""
