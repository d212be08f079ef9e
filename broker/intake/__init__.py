"""What comes in from the departments: who may say what, and the acceptance of an alert."""
