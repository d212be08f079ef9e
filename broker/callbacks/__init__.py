"""Callbacks: departments are told of their alerts' states, by signed requests that are tried until answered."""
