"""The command line ``bisenet``, one module per subcommand."""
