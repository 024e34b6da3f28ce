"""The command line: thin; every flag is a field of a recipe or of a run."""
