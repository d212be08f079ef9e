"""The record of every recipient of every batch: packed arrays and the join that merges receipts into them."""
