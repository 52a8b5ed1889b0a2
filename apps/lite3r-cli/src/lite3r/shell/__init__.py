"""What a command says and is told: terminal, errors, options that commands share."""
