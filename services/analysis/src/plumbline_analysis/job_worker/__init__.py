"""The worker process of jobs. (`plumbline_analysis.worker` is what the API evaluates in the background.)"""
