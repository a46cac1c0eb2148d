"""Actors, the bus between them, and the turn of the loop that makes them one transaction."""
