"""Other people's clients, and transcripts. A package, so that its cluster ends with its tests."""
