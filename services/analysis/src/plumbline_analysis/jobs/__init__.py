"""Work that takes long: asked for, claimed by a worker, followed, cancelled."""
