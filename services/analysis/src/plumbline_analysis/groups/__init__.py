"""Groups: the signals of one service judged together."""
