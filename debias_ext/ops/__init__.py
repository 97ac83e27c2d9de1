"""One file an operator: the public function, its fake kernel and its derivative rule."""
