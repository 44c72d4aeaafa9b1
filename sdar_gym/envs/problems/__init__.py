"""Problems with a verifier: what the Math, Code and Science environments share."""
