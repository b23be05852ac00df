"""What stands around the processes of a dataflow: starting, stopping, watching them, and telling how they are."""
