"""A Chongqing day to try everything on: a made-up world, three real-looking warnings, and the proof afterwards."""
