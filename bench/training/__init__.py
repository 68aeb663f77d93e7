"""The one way in which a network is trained: recipe, schedule, loss, loop."""
