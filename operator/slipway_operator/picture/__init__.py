"""What a ModelDeployment looks like to people, for the terminal and the page alike. Pure."""
