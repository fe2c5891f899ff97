"""CCNet: its network, its checkpoints, and the cards that say what a deployable one is."""
