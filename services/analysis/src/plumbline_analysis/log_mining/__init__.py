"""Log mining over history: the templates of what a service has logged, or of lines that are sent along."""
