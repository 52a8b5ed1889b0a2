"""What models are worth and what they cost: scenes, quality, costs, the speed of variants."""
