"""Log templates and what is unusual about them: mined online, in bounded memory, no I/O."""
