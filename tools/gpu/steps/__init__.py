"""What each step measures: `measure(setting, record)`."""
