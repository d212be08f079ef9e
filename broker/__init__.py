"""Fenghuo 烽火: takes warnings in, works out whom they concern, and knows who received them."""
