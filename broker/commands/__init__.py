"""The commands behind `fenghuo`, a module for each noun."""
