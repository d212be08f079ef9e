"""The words: what each channel says of a segment in each language, from sandboxed templates."""
