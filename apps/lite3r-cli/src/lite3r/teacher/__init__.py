"""The bundled teacher: what it is trained with, and how good it is."""
