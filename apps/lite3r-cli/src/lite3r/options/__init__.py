"""What a person types: a frozen dataclass a command. Nothing here imports PyTorch."""
