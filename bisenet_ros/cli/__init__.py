"""The command line ``bisenet``, one file a subcommand."""
